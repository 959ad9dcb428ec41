"""Model files against each other: their ratio holds where background load met all alike."""

from __future__ import annotations

import itertools
import math
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from latprof.devices._device import Array, Device, Reading
from latprof.devices._schedule_settings import ScheduleSettings, default_pause_s
from latprof.devices._sentinel_times import SentinelTimes
from latprof.devices._waiting import MAX_WAIT_SHARE, WaitBudget
from latprof.errors import DeviceError, WorkloadError

__all__ = ["compare_files"]

#: A round times each file so often, so long: contention for the memory lasts some hundredths of a
#: second, and a process takes ten times as long to start.
_PASSES, _PASS_S = 3, 0.02
#: This standard error of each ratio is small enough, of at least so many rounds.
_CONVERGED, _MIN_ROUNDS = 0.007, 5
#: From so many rounds on, those beside background load are used where they agree; at most so many.
_ROUNDS_BESIDE_LOAD, _MAX_ROUNDS = 10, 20
#: The part of the rounds at either end that the mean of a ratio leaves out, and how many times the
#: standard error of a mean of all rounds its own is. The median's is 1.25 times that.
_TRIMMED, _TRIMMED_ERROR = 0.2, 1.07
#: Sentinels further apart than this, beside the files of one round, met a load that changed.
_MAX_SENTINEL_RATIO = 1.05
#: Rounds that may be lost.
_MAX_LOST = 2


@dataclass(frozen=True)
class _Round:
    """One process that timed each file a few times; readings by file."""

    readings: tuple[tuple[Reading, ...], ...]

    @property
    def all(self) -> list[Reading]:
        return [*itertools.chain.from_iterable(self.readings)]

    @property
    def slowest(self) -> SentinelTimes:
        return SentinelTimes(max(r.sentinel_s for r in self.all), max(r.memory_s for r in self.all))

    @property
    def uneven(self) -> bool:
        alone = all(r.core_share >= ScheduleSettings.min_core_share for r in self.all)
        return not alone or self.slowest.core_s > _MAX_SENTINEL_RATIO * min(
            r.sentinel_s for r in self.all
        )

    @property
    def ratios(self) -> list[float]:
        seconds = [float(np.median([r.p20_s for r in of_one])) for of_one in self.readings]
        return [of_one / seconds[0] for of_one in seconds]


def compare_files(device: Device, paths: Sequence[Path]) -> list[float]:
    """Latency of each file over the first one's, from rounds of fresh processes: five where they
    agree on an idle device, ten where they agree beside background load, and as many as twenty
    where they do not.

    Raises:
        WorkloadError: the runtime refuses a file.
        DeviceError: the device is gone.
    """
    rounds: list[_Round] = []
    budget = WaitBudget(MAX_WAIT_SHARE if default_pause_s() else 0.0)
    lost = 0
    while len(rounds) < _MAX_ROUNDS:
        try:
            rounds.append(_round(device, paths, budget))
        except DeviceError:
            lost += 1
            if lost > _MAX_LOST:
                raise
            continue
        ranked = _by_load(device, rounds)
        awaited = ranked if len(rounds) >= _ROUNDS_BESIDE_LOAD else ranked[:1]
        if min(map(_error, awaited)) <= _CONVERGED:
            break
    best = min(ranked, key=lambda of_one: max(_error(of_one), _CONVERGED))
    return [float(ratio) for ratio in _trimmed_mean(best)]


def _by_load(device: Device, rounds: Sequence[_Round]) -> list[list[_Round]]:
    """The rounds on the idle device; with them, step by step, those beside more load."""
    limit = ScheduleSettings().limit(device.baseline.fastest(*(r.slowest for r in rounds)))
    even = [r for r in rounds if not r.uneven]
    steady = [r for r in even if r.slowest.memory_s <= limit.memory_s]
    idle = [r for r in steady if r.slowest.core_s <= limit.core_s]
    return [idle, steady, even, list(rounds)]


def _error(rounds: Sequence[_Round]) -> float:
    """The largest standard error of a ratio. From the standard deviation of all rounds: one of
    some of so few, computed after each, is soon small by chance."""
    if len(rounds) < _MIN_ROUNDS:
        return math.inf
    spread = np.std([r.ratios for r in rounds], axis=0, ddof=1) / _trimmed_mean(rounds)
    return _TRIMMED_ERROR * float(spread.max()) / math.sqrt(len(rounds))


def _trimmed_mean(rounds: Sequence[_Round]) -> Array:
    """(F,) of each file's ratios."""
    from scipy import stats  # a third of a second that profiling does not need

    return np.asarray(stats.trim_mean([r.ratios for r in rounds], _TRIMMED, axis=0))


def _round(device: Device, paths: Sequence[Path], budget: WaitBudget) -> _Round:
    order = [i for _ in range(_PASSES) for i in random.sample(range(len(paths)), len(paths))]
    taken: list[list[Reading]] = [[] for _ in paths]
    readings = device.round([paths[i] for i in order], measure_s=_PASS_S, budget=budget)
    start_s = time.monotonic()
    for i, reading in zip(order, readings, strict=True):
        now_s = time.monotonic()
        budget.add(measured_s=now_s - start_s - reading.waited_s, waited_s=reading.waited_s)
        start_s = now_s
        if reading.error:
            raise WorkloadError(f"{paths[i]} was not timed: {reading.error}")
        taken[i].append(reading)
    return _Round(tuple(map(tuple, taken)))
