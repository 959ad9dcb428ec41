"""Timing one call, on the device host. Part of the agent: standard library only."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

__all__ = ["Timed", "clock_resolution_s", "thin", "time_calls"]

#: A sample is at least this many clock ticks long, so that reading the clock is under 0.1% of it.
_TICKS_PER_SAMPLE = 1000
#: Fewer samples than this say nothing of noise, however long one call takes.
_MIN_SAMPLES = 5
#: Raw samples kept of one round.
_KEEP = 40


@dataclass(frozen=True)
class Timed:
    """What timing one call gave.

    Args:
        samples_s: at most 40 samples, in seconds per call.
        core_share: the share of the wall time that the timing thread had its core.
        cost_s: seconds spent in all.
    """

    samples_s: list[float]
    core_share: float
    cost_s: float


def clock_resolution_s() -> float:
    """The smallest step seen between two readings of the clock, in seconds."""
    clock = time.perf_counter_ns
    steps = []
    for _ in range(200):
        start = clock()
        end = clock()
        while end == start:
            end = clock()
        steps.append(end - start)
    return max(min(steps), 1) * 1e-9


def time_calls(call: Callable[[], object], *, measure_s: float, resolution_s: float) -> Timed:
    """Warm ``call`` up, then time it for about ``measure_s``."""
    clock, cpu_clock = time.perf_counter_ns, time.thread_time_ns
    begin = clock()
    call()  # the first call allocates
    once_ns = max(_elapsed_ns(call), 1)
    while clock() - begin < measure_s * 0.1e9:
        once_ns = max(min(once_ns, _elapsed_ns(call)), 1)
    loops = max(1, round(_TICKS_PER_SAMPLE * resolution_s * 1e9 / once_ns + 0.5))
    samples_ns: list[int] = []
    collecting = gc.isenabled()
    gc.disable()
    try:
        deadline = begin + int(measure_s * 1e9)
        cpu_start, start = cpu_clock(), clock()
        now = start
        if loops == 1:
            while now < deadline or len(samples_ns) < _MIN_SAMPLES:
                before = clock()
                call()
                now = clock()
                samples_ns.append(now - before)
        else:
            calls = range(loops)
            while now < deadline or len(samples_ns) < _MIN_SAMPLES:
                before = clock()
                for _ in calls:
                    call()
                now = clock()
                samples_ns.append(now - before)
        cpu_end, end = cpu_clock(), clock()
    finally:
        if collecting:
            gc.enable()
    core_share = min(1.0, (cpu_end - cpu_start) / max(end - start, 1))
    samples_s = [ns * 1e-9 / loops for ns in thin(samples_ns, _KEEP)]
    return Timed(samples_s, core_share, (end - begin) * 1e-9)


def thin(samples: Sequence[float], keep: int) -> list[float]:
    """``keep`` evenly spaced order statistics, the smallest and largest included."""
    if len(samples) <= keep:
        return list(samples)
    ordered = sorted(samples)
    return [ordered[round(i * (len(ordered) - 1) / (keep - 1))] for i in range(keep)]


def _elapsed_ns(call: Callable[[], object]) -> int:
    start = time.perf_counter_ns()
    call()
    return time.perf_counter_ns() - start
