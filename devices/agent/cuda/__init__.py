"""NVIDIA GPUs: the driver, kernels and libraries that the agent measures with."""

from latprof.devices.agent.cuda._replay import flush_bytes

__all__ = ["flush_bytes"]
