"""Background load that comes and goes."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable

__all__ = ["BackgroundLoad"]


class BackgroundLoad:
    """One busy process per core of ours, switched on and off by the clock.

    Args:
        off_s, on_s: seconds until the next load begins, and that it lasts; called each time.
    """

    def __init__(self, off_s: Callable[[], float], on_s: Callable[[], float]) -> None:
        self._off_s, self._on_s = off_s, on_s
        self._windows: list[list[float]] = []

    def __enter__(self) -> BackgroundLoad:
        context = multiprocessing.get_context("fork")
        self._processes = [
            context.Process(target=_spin, args=(core,), daemon=True)
            for core in sorted(os.sched_getaffinity(0))
        ]
        for process in self._processes:
            process.start()
        self._signal(signal.SIGSTOP)
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._switch)
        self._thread.start()
        return self

    def windows(self) -> list[tuple[float, float]]:
        """(begin, end) of each load so far, in seconds of the monotonic clock."""
        return [(on, off) for on, off in self._windows]

    def _switch(self) -> None:
        while not self._done.wait(self._off_s()):
            self._windows.append([time.monotonic(), float("inf")])
            self._signal(signal.SIGCONT)
            self._done.wait(self._on_s())
            self._signal(signal.SIGSTOP)
            self._windows[-1][1] = time.monotonic()

    def _signal(self, number: signal.Signals) -> None:
        for process in self._processes:
            assert process.pid is not None
            os.kill(process.pid, number)

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()
        self._signal(signal.SIGKILL)
        for process in self._processes:
            process.join()


def _spin(core: int) -> None:
    os.sched_setaffinity(0, [core])
    while True:
        pass
