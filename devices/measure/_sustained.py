"""Latency over minutes: what a device keeps up once it is warm, and when it begins to throttle."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from latprof.devices._device import Array, Device, Reading
from latprof.devices._schedule_settings import ScheduleSettings
from latprof.devices.measure._profile import Event
from latprof.errors import DeviceError, ModelLoadError, UsageError, WorkloadError

__all__ = ["Sustained", "measure_sustained"]

#: A reading is this share of the time, within these limits in seconds.
_WINDOW_SHARE, _MIN_WINDOW_S, _MAX_WINDOW_S = 1 / 1200, 0.1, 1.0
#: Readings are taken together, in time, to so many means at most, of so many readings at least.
_MAX_POINTS, _READINGS_PER_POINT = 120, 3
#: Fewer say nothing.
_MIN_POINTS = 8
#: What the steady state is compared with, at most this long and this share of the time; and the
#: share of the time, at its end, that is the steady state.
_FIRST_S, _FIRST_SHARE, _STEADY_SHARE = 60.0, 0.25, 0.25
#: Throttled is what is slower than at first by so much, and by so many times the scatter.
_MIN_SLOWDOWN, _SCATTERS = 0.02, 3.0
#: Share of the points from the onset on that are throttled; the fewest points that make an onset,
#: in number and as a part of all.
_THROTTLED_SHARE, _MIN_THROTTLED, _THROTTLED_PART = 0.9, 3, 0.05
_MAX_LOST = 2


@dataclass(frozen=True)
class Sustained:
    """Latency of a file while it runs without a pause.

    The onset of throttling is the first point in time from which on at least nine of ten points,
    and no fewer than a twentieth of all, are slower than the limit: the median of the faster half
    of the first minute, plus 2% or three times the scatter there, whichever is more.

    Args:
        seconds: how long it ran.
        times_s, latencies_s: points: seconds since the start, and the mean latency there.
        first_s: median latency in the first minute, or in the first quarter of a shorter time.
        steady_s: median latency in the last quarter of the time.
        steady_error: its relative standard error.
        onset_s: seconds until the device throttled; None where it did not, or where that cannot be
            seen.
        settled: whether the last quarter grows no slower any more.
        readings, preempted: in all, and those left out as other tasks took the core.
        is_interrupted: it ended before the time that was asked for.
    """

    seconds: float
    times_s: tuple[float, ...]
    latencies_s: tuple[float, ...]
    first_s: float
    steady_s: float
    steady_error: float
    onset_s: float | None
    settled: bool
    readings: int
    preempted: int = 0
    is_interrupted: bool = False

    @property
    def slowdown(self) -> float:
        """Steady state over the first minute."""
        return self.steady_s / self.first_s

    @property
    def mostly_preempted(self) -> bool:
        """Whether other tasks took the core in more than half of the readings: then all are used,
        and throttling cannot be seen."""
        return 2 * self.preempted > self.readings

    @property
    def first_for_s(self) -> float:
        """How long ``first_s`` is of."""
        return min(_FIRST_S, _FIRST_SHARE * self.seconds)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {**asdict(self), "slowdown": self.slowdown}


def measure_sustained(
    device: Device,
    path: Path,
    seconds: float,
    *,
    on_event: Callable[[Event], None] | None = None,
) -> Sustained:
    """Run ``path`` without a pause for about ``seconds``.

    Ctrl-C ends it early, and what was measured is kept.

    Raises:
        ModelLoadError: ``path`` is not a file.
        WorkloadError: the runtime refuses it.
        UsageError: too short a time for the file.
        DeviceError: the device is gone.
        KeyboardInterrupt: before there was enough to say anything.
    """
    if not path.is_file():
        raise ModelLoadError(f"{path} is not a file; expected a model the runtime can load")
    window_s = min(max(seconds * _WINDOW_SHARE, _MIN_WINDOW_S), _MAX_WINDOW_S)
    times_s: list[float] = []
    readings: list[Reading] = []
    start_s, lost, is_interrupted = device.clock_now_s(), 0, False
    try:
        while device.clock_now_s() - start_s < seconds:
            try:
                with contextlib.closing(device.sustain(path, measure_s=window_s)) as running:
                    for reading in running:
                        now_s = device.clock_now_s() - start_s
                        if reading.error:
                            raise WorkloadError(reading.error)
                        readings.append(reading)
                        times_s.append(now_s)
                        if on_event is not None:
                            share = min(now_s / seconds, 1.0)
                            on_event(Event("reading", 0, 1, share, max(0.0, seconds - now_s)))
                        if now_s >= seconds:
                            break
            except WorkloadError:
                raise
            except DeviceError:
                lost += 1
                if lost > _MAX_LOST:
                    raise
    except KeyboardInterrupt:
        if len(readings) < _MIN_POINTS:
            raise
        is_interrupted = True
    return _sustained(times_s, readings, is_interrupted)


def _sustained(
    times_s: Sequence[float], readings: Sequence[Reading], is_interrupted: bool
) -> Sustained:
    alone = [r.core_share >= ScheduleSettings.min_core_share for r in readings]
    chosen = alone if 2 * sum(alone) >= len(alone) else [True] * len(alone)
    kept = [
        (t, r.p20_s) for t, r, is_kept in zip(times_s, readings, chosen, strict=True) if is_kept
    ]
    if len(kept) < _MIN_POINTS:
        raise UsageError(
            f"{len(kept)} readings say nothing of a steady state; expected a longer time, like "
            "10min"
        )
    count = max(_MIN_POINTS, min(_MAX_POINTS, len(kept) // _READINGS_PER_POINT))
    parts = np.array_split(np.array(kept), count)
    times = np.array([part[0, 0] for part in parts])
    latencies = np.array([part[:, 1].mean() for part in parts])
    end_s = times_s[-1]
    first = times <= max(min(_FIRST_S, _FIRST_SHARE * end_s), times[1])  # two points at least
    steady = times >= min((1 - _STEADY_SHARE) * end_s, times[-3])
    limit = _limit(latencies[first])
    last = latencies[steady]
    error = float(np.std(last, ddof=1) / np.mean(last) / math.sqrt(len(last)))
    half = len(last) // 2
    grows = float(np.median(last[half:]) / np.median(last[:half])) - 1
    return Sustained(
        seconds=end_s,
        times_s=tuple(times.tolist()),
        latencies_s=tuple(latencies.tolist()),
        first_s=float(np.median(latencies[first])),
        steady_s=float(np.median(last)),
        steady_error=error,
        onset_s=_onset(times, latencies > limit) if chosen is alone else None,
        settled=grows <= max(_MIN_SLOWDOWN, _SCATTERS * error),
        readings=len(readings),
        preempted=len(alone) - sum(alone),
        is_interrupted=is_interrupted,
    )


def _limit(first: Array) -> float:
    """What is slower is throttled."""
    faster = np.sort(first)[: max(2, -(-len(first) // 2))]
    usual = float(np.median(faster))
    scatter = 1.4826 * float(np.median(np.abs(faster - usual))) / usual
    return usual * (1 + max(_MIN_SLOWDOWN, _SCATTERS * scatter))


def _onset(times_s: Array, is_slow: Array) -> float | None:
    for place in np.flatnonzero(is_slow):
        later = is_slow[place:]
        if len(later) < max(_MIN_THROTTLED, _THROTTLED_PART * len(is_slow)):
            return None
        if later.mean() >= _THROTTLED_SHARE:
            return float(times_s[place])
    return None
