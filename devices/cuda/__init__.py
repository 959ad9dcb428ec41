"""NVIDIA GPUs: the driver, the compilers, the project's kernels, and the runtimes on them."""

from latprof.devices.cuda._list import list_gpus

__all__ = ["list_gpus"]
