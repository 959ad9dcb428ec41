"""Model files against each other: their ratio holds in any weather, if it was the same for all."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from latprof.devices._device import Array, Device, Reading
from latprof.devices._pace import Pace
from latprof.devices._schedule_settings import ScheduleSettings
from latprof.errors import DeviceError, WorkloadError

__all__ = ["compare_files"]

#: A round times each file so often, so long; what others do to the memory lasts some hundredths
#: of a second, and a process takes ten times as long to start.
_PASSES, _PASS_S = 3, 0.02
#: So many calm rounds are enough, where they agree: the standard error of each ratio is at most
#: this. Later, rounds of worse weather are, where they agree; else the best of the most.
_ENOUGH, _CONVERGED, _LATER, _MOST = 5, 0.007, 10, 20
#: The part of the rounds at either end that the mean of a ratio leaves out, and how many times the
#: standard error of a mean of all rounds its own is. The median's is 1.25 times that.
_TRIMMED, _TRIMMED_ERROR = 0.2, 1.07
#: Sentinels further apart than this, beside the files of one round, are of different weather.
_APART = 1.05
#: Rounds that may be lost on the way.
_LOST = 2


@dataclass(frozen=True)
class _Round:
    """One process that timed each file a few times; readings by file."""

    readings: tuple[tuple[Reading, ...], ...]

    @property
    def all(self) -> list[Reading]:
        return [*itertools.chain.from_iterable(self.readings)]

    @property
    def slowest(self) -> Pace:
        return Pace(max(r.sentinel_s for r in self.all), max(r.memory_s for r in self.all))

    @property
    def uneven(self) -> bool:
        alone = all(r.busy >= ScheduleSettings.min_busy for r in self.all)
        return not alone or self.slowest.core_s > _APART * min(r.sentinel_s for r in self.all)

    @property
    def ratios(self) -> list[float]:
        seconds = [float(np.median([r.p20_s for r in of_one])) for of_one in self.readings]
        return [of_one / seconds[0] for of_one in seconds]


def compare_files(device: Device, paths: Sequence[Path]) -> list[float]:
    """Latency of each file over the first one's, from rounds of fresh processes: five where they
    agree and are calm, ten where they agree, and as many as twenty where they do not.

    Raises:
        WorkloadError: the runtime refuses a file.
        DeviceError: the device is gone.
    """
    rounds: list[_Round] = []
    lost = 0
    while len(rounds) < _MOST:
        try:
            rounds.append(_round(device, paths))
        except DeviceError:
            lost += 1
            if lost > _LOST:
                raise
            continue
        ranked = _by_weather(device, rounds)
        awaited = ranked if len(rounds) >= _LATER else ranked[:1]
        if min(map(_error, awaited)) <= _CONVERGED:
            break
    best = min(ranked, key=lambda of_one: max(_error(of_one), _CONVERGED))
    return [float(ratio) for ratio in _trimmed_mean(best)]


def _by_weather(device: Device, rounds: Sequence[_Round]) -> list[list[_Round]]:
    """The calm rounds; with them those of one weather; with them all others."""
    limit = ScheduleSettings().limit(device.best.least(*(r.slowest for r in rounds)))
    even = [r for r in rounds if not r.uneven]
    steady = [r for r in even if r.slowest.memory_s <= limit.memory_s]
    calm = [r for r in steady if r.slowest.core_s <= limit.core_s]
    return [calm, steady, even, list(rounds)]


def _error(rounds: Sequence[_Round]) -> float:
    """The largest standard error of a ratio. From the standard deviation of all rounds: one of
    some of so few, looked at after each, is soon small by luck."""
    if len(rounds) < _ENOUGH:
        return math.inf
    spread = np.std([r.ratios for r in rounds], axis=0, ddof=1) / _trimmed_mean(rounds)
    return _TRIMMED_ERROR * float(spread.max()) / math.sqrt(len(rounds))


def _trimmed_mean(rounds: Sequence[_Round]) -> Array:
    """(F,) of each file's ratios."""
    from scipy import stats  # a third of a second that profiling does not need

    return np.asarray(stats.trim_mean([r.ratios for r in rounds], _TRIMMED, axis=0))


def _round(device: Device, paths: Sequence[Path]) -> _Round:
    order = [i for _ in range(_PASSES) for i in random.sample(range(len(paths)), len(paths))]
    taken: list[list[Reading]] = [[] for _ in paths]
    readings = device.round([paths[i] for i in order], measure_s=_PASS_S)
    for i, reading in zip(order, readings, strict=True):
        if reading.error:
            raise WorkloadError(f"{paths[i]} was not timed: {reading.error}")
        taken[i].append(reading)
    return _Round(tuple(map(tuple, taken)))
