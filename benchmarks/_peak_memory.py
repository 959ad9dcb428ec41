"""The peak memory of a few training steps in a fresh process, as Linux's /proc tells it."""

from __future__ import annotations

import ctypes
import gc
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

__all__ = ["above_start", "print_peak"]

_STEPS, _PROCESSES = 5, 3


def above_start(script: str, *words: str) -> float:
    """KiB: the peak of ``script --worker WORDS 5`` less that with 0 steps; the median of three."""
    return float(
        np.median(
            [
                _of_worker(script, *words, str(_STEPS)) - _of_worker(script, *words, "0")
                for _ in range(_PROCESSES)
            ]
        )
    )


def _of_worker(script: str, *words: str) -> int:
    done = subprocess.run(
        [sys.executable, "-P", script, "--worker", *words],
        capture_output=True, text=True, check=True, env={**os.environ, "MALLOC_ARENA_MAX": "1"},
    )  # fmt: skip
    return int(done.stdout.splitlines()[-1])


def print_peak(run: Callable[[], object]) -> None:
    """What a worker ends with: the peak resident set in KiB while it runs. What was freed before is
    given back to the system."""
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    run()
    lines = Path("/proc/self/status").read_text().splitlines()
    status = dict(line.split(":", 1) for line in lines)
    print(status["VmHWM"].split()[0])
