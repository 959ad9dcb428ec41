"""Model files against each other: their ratio holds in any weather, if it was the same for all."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from latprof._errors import DeviceError, WorkloadError
from latprof.devices._device import Device, Reading
from latprof.devices._schedule import ScheduleSettings

__all__ = ["compare_files"]

_ROUND_S = 0.02
#: So many calm rounds are enough; where there are not, the best of the most that are tried.
_ENOUGH, _MOST = 5, 12
#: Sentinels further apart than this, beside the files of one round, are of different weather.
_APART = 1.05
#: Rounds that may be lost on the way.
_LOST = 2


@dataclass(frozen=True)
class _Round:
    """One process that timed each file once."""

    readings: tuple[Reading, ...]

    @property
    def slowest_s(self) -> float:
        return max(reading.sentinel_s for reading in self.readings)

    @property
    def slowest_memory_s(self) -> float:
        return max(reading.memory_s for reading in self.readings)

    @property
    def uneven(self) -> bool:
        alone = all(r.busy >= ScheduleSettings.min_busy for r in self.readings)
        return not alone or self.slowest_s > _APART * min(r.sentinel_s for r in self.readings)

    @property
    def ratios(self) -> list[float]:
        return [reading.p20_s / self.readings[0].p20_s for reading in self.readings]


def compare_files(device: Device, paths: Sequence[Path]) -> list[float]:
    """Latency of each file over the first one's, in at most twelve rounds of fresh processes.

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
        quickest_s = min(device.quickest_s, *(r.slowest_s for r in rounds))
        limit_s = ScheduleSettings.sentinel_limit * quickest_s
        steady = _steady(device, rounds)
        if sum(r.slowest_s <= limit_s for r in steady) >= _ENOUGH:
            break
    best = sorted(rounds, key=lambda r: (r not in steady, r.slowest_s))[:_ENOUGH]
    return [float(ratio) for ratio in np.median([r.ratios for r in best], axis=0)]


def _steady(device: Device, rounds: Sequence[_Round]) -> list[_Round]:
    """Those of one weather, in which no other program had the memory."""
    quickest_s = min(device.quickest_memory_s, *(r.slowest_memory_s for r in rounds))
    limit_s = ScheduleSettings.memory_limit * quickest_s
    return [r for r in rounds if not r.uneven and r.slowest_memory_s <= limit_s]


def _round(device: Device, paths: Sequence[Path]) -> _Round:
    order = random.sample(range(len(paths)), len(paths))
    taken = dict(
        zip(order, device.round([paths[i] for i in order], measure_s=_ROUND_S), strict=True)
    )
    for i, reading in taken.items():
        if reading.error:
            raise WorkloadError(f"{paths[i]} was not timed: {reading.error}")
    return _Round(tuple(taken[i] for i in range(len(paths))))
