"""Which library drives a GPU: pycuda where it is installed, the driver by ctypes otherwise.

Part of the agent.
"""

from __future__ import annotations

import functools
import importlib.util

from latprof.devices.agent.cuda._ctypes import CtypesGpu
from latprof.devices.agent.cuda._gpu import Gpu
from latprof.devices.agent.runtimes._base import NoDevice

__all__ = ["choose_driver", "open_gpu"]


def open_gpu(index: int, driver: str = "auto") -> Gpu:
    """The GPU ``cuda:index``, its context current in this thread.

    Args:
        driver: a value of the setting of this name.

    Raises:
        NoDevice: no NVIDIA driver, no such GPU, or pycuda was asked for and does not load.
    """
    factory, why_not = choose_driver()
    if driver == "ctypes":
        factory = CtypesGpu
    if driver == "pycuda" and why_not:
        raise NoDevice(f"driver is 'pycuda': {why_not}")
    return factory(index)


@functools.cache
def choose_driver() -> tuple[type[Gpu], str]:
    """What drives GPUs unless a setting names it, and why it is not pycuda ("" where it is)."""
    if importlib.util.find_spec("pycuda") is None:
        return CtypesGpu, "pycuda is not installed: pip install 'latprof[pycuda]'"
    try:
        from latprof.devices.agent.cuda._pycuda import PycudaGpu
    except ImportError as exc:  # built for another Python or against another driver
        why = " ".join(str(exc).split())
        return CtypesGpu, f"pycuda does not load ({why}); build it on this machine again"
    return PycudaGpu, ""
