"""Model files against each other: their ratio holds where background load met all alike."""

from __future__ import annotations

import itertools
import math
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from latprof.devices._device import Array, Device, Reading
from latprof.devices._schedule_settings import ScheduleSettings, default_pause_s
from latprof.devices._sentinel_times import SentinelTimes
from latprof.devices._waiting import MAX_WAIT_SHARE, WaitBudget
from latprof.errors import DeviceError, WorkloadError

__all__ = ["Comparison", "compare_files", "compare_until", "degrees_of"]

#: A round times each file so long at once: contention for the memory lasts some hundredths of a
#: second, and a process takes ten times as long to start.
_PASS_S = 0.02
#: It does so this often, as far as that is within these seconds a file. The first round has the
#: fewest passes.
_MIN_PASSES, _MAX_PASSES, _PASSES_S = 3, 6, 0.2
#: This standard error of each ratio is small enough, of at least so many rounds.
_CONVERGED, _MIN_ROUNDS = 0.007, 5
#: From so many rounds on, those beside background load are used where they agree; at most so many.
_ROUNDS_BESIDE_LOAD, _MAX_ROUNDS = 10, 20
#: The part of the rounds at either end that the mean of a ratio leaves out.
_TRIMMED = 0.2
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
    def seconds(self) -> list[float]:
        """Of each file, as they were taken."""
        return [float(np.median([r.p20_s for r in of_one])) for of_one in self.readings]

    @property
    def ratios(self) -> list[float]:
        """Of each file over the first: the median over passes, for what is timed one after the
        other meets the same load."""
        first = self.readings[0]
        return [
            float(np.median([a.p20_s / b.p20_s for a, b in zip(of_one, first, strict=True)]))
            for of_one in self.readings
        ]

    def corrected_s(self, idle: SentinelTimes) -> list[float]:
        """``seconds`` without the measured slowdown, where it is small enough to be known."""
        took_s = float(np.median([r.sentinel_s for r in self.all]))
        known = idle.core_s < took_s <= ScheduleSettings.max_corrected_slowdown * idle.core_s
        return [of_one / (took_s / idle.core_s if known else 1.0) for of_one in self.seconds]


@dataclass(frozen=True)
class Comparison:
    """Files against the first of them, from rounds of fresh processes that time all in turns.

    Args:
        ratios: of each file's latency over the first one's; 1 for the first.
        ratio_errors: relative standard errors of the ratios; 0 for the first.
        latencies_s: of each file, corrected for the measured slowdown.
        latency_errors: their relative standard errors.
        rounds: that the latencies are of: those on the idle device, where they suffice.
        ratio_rounds: that the ratios are of: those that give the smallest errors.
        beside_load: some of ``rounds`` ran beside background load.
        taken: rounds in all.
    """

    ratios: tuple[float, ...]
    ratio_errors: tuple[float, ...]
    latencies_s: tuple[float, ...]
    latency_errors: tuple[float, ...]
    rounds: int
    ratio_rounds: int
    beside_load: bool
    taken: int


def compare_files(device: Device, paths: Sequence[Path]) -> list[float]:
    """Latency of each file over the first one's, from rounds of fresh processes: five where they
    agree on an idle device, ten where they agree beside background load, and as many as twenty
    where they do not.

    Raises:
        WorkloadError: the runtime refuses a file.
        DeviceError: the device is gone.
    """
    rounds: list[_Round] = []
    for rounds in itertools.islice(_rounds(device, paths), _MAX_ROUNDS):
        ranked = _by_load(device, rounds)
        awaited = ranked if len(rounds) >= _ROUNDS_BESIDE_LOAD else ranked[:1]
        if min(map(_error, awaited)) <= _CONVERGED:
            break
    best = _most_certain(ranked)
    return [float(ratio) for ratio in _trimmed_mean(_ratios(best))]


def compare_until(
    device: Device,
    paths: Sequence[Path],
    decided: Callable[[Comparison], bool],
    *,
    max_s: float,
    on_round: Callable[[float], None] | None = None,
) -> Comparison:
    """Compare files in turns until ``decided`` says that the figures suffice.

    Args:
        device: an open device.
        paths: one or more files.
        decided: called after each round from the fifth on.
        max_s: no round begins later than this many seconds after the first.
        on_round: called after each round with the share of ``max_s`` that is over.

    Raises:
        WorkloadError: the runtime refuses a file.
        DeviceError: the device is gone.
    """
    start_s = time.monotonic()
    for rounds in _rounds(device, paths):
        over = (time.monotonic() - start_s) / max_s
        if on_round is not None:
            on_round(min(over, 1.0))
        if len(rounds) < _MIN_ROUNDS:
            continue
        found = _comparison(device, rounds)
        if decided(found) or over >= 1:
            break
    return found


def _comparison(device: Device, rounds: Sequence[_Round]) -> Comparison:
    ranked = _by_load(device, rounds)
    chosen = _most_certain(ranked)
    idle = device.baseline.fastest(*(r.slowest for r in rounds))
    of_ratios = min(ranked, key=_error)
    ratios = _ratios(of_ratios)
    seconds = np.array([r.corrected_s(idle) for r in chosen])
    return Comparison(
        tuple(_trimmed_mean(ratios).tolist()),
        tuple(_errors(ratios).tolist()),
        tuple(_trimmed_mean(seconds).tolist()),
        tuple(_errors(seconds).tolist()),
        rounds=len(chosen),
        ratio_rounds=len(of_ratios),
        beside_load=len(chosen) > len(ranked[0]),
        taken=len(rounds),
    )


def _rounds(device: Device, paths: Sequence[Path]) -> Iterator[list[_Round]]:
    """All rounds so far, after each."""
    rounds: list[_Round] = []
    budget = WaitBudget(MAX_WAIT_SHARE if default_pause_s() else 0.0)
    lost, passes = 0, _MIN_PASSES
    while True:
        try:
            rounds.append(_round(device, paths, budget, passes))
        except DeviceError:
            lost += 1
            if lost > _MAX_LOST:
                raise
            continue
        slowest_s = max(_PASS_S, *rounds[-1].seconds)
        passes = min(max(round(_PASSES_S / slowest_s), _MIN_PASSES), _MAX_PASSES)
        yield rounds


def _by_load(device: Device, rounds: Sequence[_Round]) -> list[list[_Round]]:
    """The rounds on the idle device; with them, step by step, those beside more load."""
    limit = ScheduleSettings().limit(device.baseline.fastest(*(r.slowest for r in rounds)))
    even = [r for r in rounds if not r.uneven]
    steady = [r for r in even if r.slowest.memory_s <= limit.memory_s]
    idle = [r for r in steady if r.slowest.core_s <= limit.core_s]
    return [idle, steady, even, list(rounds)]


def _most_certain(ranked: Sequence[list[_Round]]) -> list[_Round]:
    """Those that give the smallest error; of several that are small enough, the first."""
    return min(ranked, key=lambda rounds: max(_error(rounds), _CONVERGED))


def _error(rounds: Sequence[_Round]) -> float:
    """The largest standard error of a ratio; of one file alone, that of its latency. Of so few
    rounds that it may be small by chance, as much larger as Student's distribution is wider."""
    from scipy import stats

    if len(rounds) < _MIN_ROUNDS:
        return math.inf
    alone = len(rounds[0].readings) == 1
    values = np.array([r.seconds for r in rounds]) if alone else _ratios(rounds)
    wider = stats.t.ppf(stats.norm.cdf(1.0), degrees_of(len(rounds)))
    return float(wider * _errors(values).max())


def _ratios(rounds: Sequence[_Round]) -> Array:
    """(R, F) of each round and file."""
    return np.array([r.ratios for r in rounds])


def _errors(values: Array) -> Array:
    """(F,) relative standard errors of the trimmed means (Yuen, 1974): the rounds that are left out
    count as the outermost of those that are not, so that a load that came within one of them does
    not hide what the others agree on."""
    from scipy.stats import mstats

    cut = int(_TRIMMED * len(values))
    within = np.asarray(mstats.winsorize(values, (_TRIMMED, _TRIMMED), axis=0))
    spread = np.std(within, axis=0, ddof=1) / _trimmed_mean(values)
    return np.asarray(spread / ((1 - 2 * cut / len(values)) * math.sqrt(len(values))))


def degrees_of(rounds: int) -> int:
    """Degrees of freedom of the error of a mean over so many rounds."""
    return rounds - 2 * int(_TRIMMED * rounds) - 1


def _trimmed_mean(values: Array) -> Array:
    """(F,) over rounds."""
    from scipy import stats  # a third of a second that profiling does not need

    return np.asarray(stats.trim_mean(values, _TRIMMED, axis=0))


def _round(device: Device, paths: Sequence[Path], budget: WaitBudget, passes: int) -> _Round:
    order = [i for _ in range(passes) for i in random.sample(range(len(paths)), len(paths))]
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
