"""Timing GPU work by events around replays of a graph. Pure logic. Part of the agent.

The smallest step of CUDA's event clock is about half a microsecond, so work is recorded into one
graph as often as makes a replay a thousand of those long.
"""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable

import numpy as np

from latprof.devices.agent._clock import thin
from latprof.devices.agent.runtimes._base import Refused

__all__ = ["EVENT_RESOLUTION_S", "Replayer", "flush_bytes", "time_replays", "warm_up"]

#: cudaEventElapsedTime, as NVIDIA documents it.
EVENT_RESOLUTION_S = 0.5e-6
_REPLAY_S = 1000 * EVENT_RESOLUTION_S
_MAX_COPIES = 1024
_MIN_SAMPLES, _KEEP = 5, 40
_WARM_SHARE = 0.1
_WARM_UP_S = 0.25


class Replayer(ABC):
    """What timing needs of a GPU. Laws: a replay does what was captured, in order, each time;
    ``elapsed_s`` waits for it; ``flush`` enqueues, and leaves nothing of earlier work in L2."""

    @abstractmethod
    def capture(self, work: Callable[[], object]) -> Callable[[], object]:
        """A graph of what ``work`` enqueues; the result replays it."""

    @abstractmethod
    def elapsed_s(self, replay: Callable[[], object]) -> float:
        """Seconds from an event before ``replay`` to one after it, by the GPU's clock."""

    @abstractmethod
    def flush(self) -> None:
        """Enqueue what empties L2."""


def flush_bytes(l2_bytes: int) -> int:
    """What a flush must read: at least twice L2, in whole words of 16 bytes.

    Twice, since lines are not replaced strictly in order of age, and some GPUs keep a line in both
    halves of L2. A GPU that states no L2 is taken to have 64 MiB.
    """
    return -(-2 * (l2_bytes or 64 << 20) // 16) * 16


def warm_up(gpu: Replayer) -> None:
    """Keep the GPU busy until its clocks have left idle, which takes some tenths of a second."""
    gpu.flush()
    busy = gpu.capture(gpu.flush)
    begin = time.perf_counter()
    while time.perf_counter() - begin < _WARM_UP_S:
        gpu.elapsed_s(busy)


def time_replays(
    gpu: Replayer, work: Callable[[], object], *, measure_s: float, cold: bool
) -> tuple[list[float], float]:
    """Time ``work`` for about ``measure_s``.

    Hot: copies of the work one after the other. Cold: a flush before each copy, less the same
    number of flushes alone. Both hold the gap from one kernel of a graph to the next, once.

    Returns:
        (samples_s, cost_s): at most 40 samples in seconds per copy; seconds spent in all.

    Raises:
        Refused: cold, and the work cannot be separated from the flush's own scatter.
    """
    begin = time.perf_counter()
    # Outside of any graph: libraries choose, load and allocate in their first call.
    work()
    if cold:
        gpu.flush()

    def copies(count: int, *, flushed: bool, worked: bool) -> Callable[[], object]:
        def enqueue() -> None:
            for _ in range(count):
                if flushed:
                    gpu.flush()
                if worked:
                    work()

        return gpu.capture(enqueue)

    count, replay = 1, copies(1, flushed=cold, worked=True)
    gpu.elapsed_s(replay)  # the first one loads
    while True:
        once_s = min(gpu.elapsed_s(replay) for _ in range(3))
        if once_s >= 0.7 * _REPLAY_S or count == _MAX_COPIES:
            break
        needed = math.ceil(count * _REPLAY_S / max(once_s, EVENT_RESOLUTION_S))
        count = min(_MAX_COPIES, max(2 * count, needed))
        replay = copies(count, flushed=cold, worked=True)
    flushes = copies(count, flushed=True, worked=False) if cold else None

    sampling = time.perf_counter()
    while time.perf_counter() - sampling < _WARM_SHARE * measure_s:
        gpu.elapsed_s(replay)
    with_work: list[float] = []
    alone: list[float] = []
    while len(with_work) < _MIN_SAMPLES or time.perf_counter() - sampling < measure_s:
        with_work.append(gpu.elapsed_s(replay))
        if flushes is not None:
            alone.append(gpu.elapsed_s(flushes))
    flush_s = float(np.median(alone)) if alone else 0.0
    samples = [(s - flush_s) / count for s in with_work]
    kept = [s for s in samples if s > 0]
    if len(kept) < 0.8 * len(samples):
        raise Refused(
            f"cold: {len(samples) - len(kept)} of {len(samples)} samples are no longer than the "
            f"flush alone ({flush_s / count * 1e6:.1f} us); measure this shape with cache=hot"
        )
    return thin(kept, _KEEP), time.perf_counter() - begin
