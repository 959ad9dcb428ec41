"""Two settings of a process that trains; for processes of our own alone.

glibc gives large blocks back to the system as soon as they are freed, and the activations of the
next step come in again page by page: a quarter of a ResNet-18's step on two cores.

Threads of OpenMP wait for each other by spinning. Where another process has one of the cores, a
step then takes ten times as long, since spinning takes the time from the thread that is waited for.
"""

from __future__ import annotations

import ctypes
import os
import sys

from latprof.vocabulary import require

__all__ = ["prepare_for_training"]

# malloc.h
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
_MAX_BYTES = 2**31 - 1
#: Turns that a waiting thread spins before it sleeps: some microseconds.
_SPIN_COUNT = "1000"


def prepare_for_training(why: str) -> None:
    """Keep freed memory, and let waiting threads sleep; call it before torch is imported.

    Each has an effect where the C library is glibc and OpenMP is GNU's. What ``GOMP_SPINCOUNT`` or
    ``OMP_WAIT_POLICY`` say goes first. Processes that are started later are as they were.

    Args:
        why: what needs torch, for the message where it is missing.

    Raises:
        MissingExtraError: torch is not installed.
    """
    _keep_freed_memory()
    given = "GOMP_SPINCOUNT" in os.environ or "OMP_WAIT_POLICY" in os.environ
    if not given:
        os.environ["GOMP_SPINCOUNT"] = _SPIN_COUNT  # it is read as the library loads
    try:
        require("torch", extra="train", why=why)
    finally:
        if not given:
            del os.environ["GOMP_SPINCOUNT"]


def _keep_freed_memory() -> None:
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, _MAX_BYTES)
