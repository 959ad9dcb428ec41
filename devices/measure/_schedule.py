"""What to time next, what to keep, and when a row is done. Pure logic: no clock, no device."""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from latprof.devices._device import Job, Reading
from latprof.devices._pace import Pace
from latprof.devices._schedule_settings import ScheduleSettings

__all__ = ["Row", "Schedule", "Verdict"]

_UNKNOWN = Pace()
#: Readings before and after one that tell what its sentinel usually takes.
_NEAR = 4


@dataclass
class Row:
    """One job on its way to being measured; readings by their serial number.

    Set aside are the ``disturbed`` readings, beside a slow sentinel, the ``crowded`` ones, beside a
    slow sentinel of the memory, and the ``shared`` ones, for which the process did not have the
    core to itself.
    """

    job: Job
    readings: dict[int, Reading] = field(default_factory=dict)
    disturbed: dict[int, Reading] = field(default_factory=dict)
    crowded: dict[int, Reading] = field(default_factory=dict)
    shared: dict[int, Reading] = field(default_factory=dict)
    strikes: int = 0
    error: str = ""

    @property
    def aside(self) -> int:
        return len(self.disturbed) + len(self.crowded) + len(self.shared)


def relative_error(rounds_s: Iterable[float]) -> float:
    """Standard error of the median over rounds, from the rounds' median absolute deviation."""
    estimates = np.array(list(rounds_s))
    if len(estimates) < 2:
        return math.inf
    middle = float(np.median(estimates))
    sigma = 1.4826 * float(np.median(np.abs(estimates - middle)))
    return float(1.2533 * sigma / np.sqrt(len(estimates)) / middle)


def _best_of(readings: Sequence[Reading]) -> Pace:
    looks = ([r.sentinel_s for r in readings], [r.memory_s for r in readings if r.memory_s])
    return Pace(*map(_quick, looks))


def _quick(sentinels_s: Sequence[float]) -> float:
    """What the sentinel takes undisturbed: a low percentile, for the least is luck; of a few the
    median."""
    low = 20 if len(sentinels_s) >= 5 else 50
    return float(np.percentile(sentinels_s, low)) if len(sentinels_s) else math.inf


@dataclass(frozen=True)
class Verdict:
    """A row that is done, its status (see STATUSES), the pace of each of its readings, and the
    reason."""

    row: Row
    status: str
    pace: tuple[float, ...] = ()
    detail: str = ""


class Schedule:
    """Rows, and the order in which their rounds are run.

    Args:
        jobs: each once.
        known: readings from an earlier run, by serial number.
        seen: all readings of that run by serial number, those set aside included.
        best: what the sentinels take undisturbed, as far as is known.
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        settings: ScheduleSettings,
        known: Mapping[Job, Mapping[int, Reading]] | None = None,
        seen: Mapping[int, Reading] | None = None,
        best: Pace = _UNKNOWN,
    ) -> None:
        self.settings: Final = settings
        known, seen = known or {}, seen or {}
        self._random = random.Random(settings.seed)
        self._open = {job: Row(job, dict(known.get(job, {}))) for job in jobs}
        self._serial = 1 + max(seen, default=-1)
        self._looks_s = {n: reading.sentinel_s for n, reading in seen.items()}
        #: What the sentinels take undisturbed.
        self.best = best.least(_best_of(list(seen.values())))
        self._round: list[Reading] = []

    @property
    def readings_left(self) -> int:
        """At least this many readings are still wanted."""
        least = self.settings.min_rounds
        return sum(max(1, least - len(row.readings)) for row in self._open.values())

    def round(self) -> list[Job]:
        """Begin a round: shuffled jobs.

        The rows with the fewest readings come first, so that all rows share the same weather; empty
        when every row is finished.
        """
        rows = list(self._open.values())
        self._random.shuffle(rows)
        rows.sort(key=lambda row: len(row.readings) // max(1, self.settings.min_rounds))
        chosen = rows[: self.settings.batch]
        self._random.shuffle(chosen)
        chosen.sort(
            key=lambda row: row.strikes
        )  # who ended a process goes last, and costs no other
        return [row.job for row in chosen]

    def keep(self, job: Job, reading: Reading) -> int:
        """Take a reading in; returns its serial number."""
        serial, self._serial = self._serial, self._serial + 1
        row = self._open[job]
        row.readings[serial], row.strikes = reading, 0
        self._looks_s[serial] = reading.sentinel_s
        self._round.append(reading)
        return serial

    def share(self, job: Job, serial: int) -> None:
        """Set a reading aside: others took the core meanwhile."""
        row = self._open[job]
        row.shared[serial] = row.readings.pop(serial)

    def refuse(self, job: Job, error: str) -> None:
        self._open[job].error = error

    def strike(self, job: Job, error: str) -> None:
        """The process died, hung or talked nonsense while it had this job."""
        row = self._open[job]
        row.strikes += 1
        if row.strikes >= self.settings.max_strikes:
            row.error = error

    def judge(self) -> tuple[list[tuple[Job, int]], list[tuple[Job, int]]]:
        """End a round: set aside the readings beside a slow sentinel, and those beside a slow one
        of the memory alone, and say which those are.

        All readings of rows not yet finished are judged again by the present baseline: a run that
        begins in a disturbance learns only later what undisturbed is. The baseline is that of the
        quickest round: slow rounds, however many, must not become what is normal.
        """
        self.best = self.best.least(_best_of(self._round))
        self._round.clear()
        limit = self.settings.limit(self.best)
        slow, crowded = [], []
        for job, row in self._open.items():
            for serial, reading in list(row.readings.items()):
                if reading.sentinel_s > limit.core_s:
                    row.disturbed[serial] = row.readings.pop(serial)
                    slow.append((job, serial))
                elif reading.memory_s > limit.memory_s:
                    row.crowded[serial] = row.readings.pop(serial)
                    crowded.append((job, serial))
        return slow, crowded

    def finish(self) -> list[Verdict]:
        """Take out the rows that are done."""
        done = [v for row in self._open.values() if (v := self._verdict(row)) is not None]
        for verdict in done:
            del self._open[verdict.row.job]
        return done

    def _verdict(self, row: Row) -> Verdict | None:
        limits, count = self.settings, len(row.readings)
        if row.error:
            row.readings.clear()
            return self._done(row, "failed", row.error)
        error = self._error(row.readings)
        if count >= limits.min_rounds and error <= limits.converged:
            return self._done(row, "ok")
        if count >= limits.max_rounds:
            if error <= limits.noisy:
                return self._done(row, "ok")
            return self._done(row, "noisy", f"standard error {error:.1%} after {count} rounds")
        if row.aside < limits.patience:
            return None
        why = f"{len(row.disturbed)} rounds disturbed, {len(row.shared)} on a shared core"
        if row.crowded:
            why = f"{why}, {len(row.crowded)} beside busy memory"
        why = f"{why}, {count} clean"
        if count >= limits.min_rounds:
            return self._done(row, "noisy", why)
        # What is shorter than a time slice reads true on a shared core, at its low percentiles;
        # where it does not, the rounds disagree.
        if self._agree(together := row.readings | row.shared):
            row.readings = together
            return self._done(row, "noisy", f"{why}; the rounds agree")
        # What keeps the memory busy may do so for hours; some of what is timed does not mind.
        if row.crowded and self._agree(together := row.readings | row.crowded):
            row.readings = together
            return self._done(row, "noisy", f"{why}; the rounds agree")
        if count * limits.max_discards >= limits.min_rounds * row.aside:
            return None  # at this rate enough clean rounds will come in time
        # A device may have settled a little below its best pace.
        limit_s = limits.settled_limit * self.best.core_s
        slow = {n: r for n, r in row.disturbed.items() if r.sentinel_s <= limit_s}
        if self._agree(slow):
            row.readings = slow
            slower = float(np.median([self._pace(n) for n in slow]))
            return self._done(row, "noisy", f"{why}; the slow rounds agree, at {slower:.2f}x")
        if row.aside < limits.max_discards:
            return None
        if row.crowded and len(together := row.readings | row.crowded) >= limits.min_rounds:
            row.readings = together
            return self._done(row, "noisy", f"{why}; used all the same")
        row.readings |= row.shared | row.crowded | row.disturbed
        return self._done(row, "throttled", why)

    def _agree(self, readings: Mapping[int, Reading]) -> bool:
        enough = len(readings) >= self.settings.min_rounds
        return enough and self._error(readings) <= self.settings.noisy

    def _done(self, row: Row, status: str, detail: str = "") -> Verdict:
        return Verdict(row, status, tuple(map(self._pace, row.readings)), detail)

    def _error(self, readings: Mapping[int, Reading]) -> float:
        return relative_error(r.p20_s / self._pace(n) for n, r in readings.items())

    def _pace(self, serial: int) -> float:
        """How much slower than at its best the device was beside a reading; beyond where one
        settles, not all ops slow down alike, and the sentinel tells nothing of the others.

        A sentinel that alone was slow, of those a few readings before and after, met something
        shorter than a reading.
        """
        near = range(serial - _NEAR, serial + _NEAR + 1)
        usual_s = statistics.median(self._looks_s[n] for n in near if n in self._looks_s)
        took_s, best_s = min(self._looks_s[serial], usual_s), self.best.core_s
        if not 0 < took_s <= self.settings.settled_limit * best_s < math.inf:
            return 1.0
        return took_s / best_s
