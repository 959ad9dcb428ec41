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
from latprof.devices._schedule_settings import ScheduleSettings
from latprof.devices._sentinel_times import SentinelTimes

__all__ = ["Row", "Schedule", "Verdict"]

_UNKNOWN = SentinelTimes()
#: Readings before and after one, of which its sentinel is compared with the usual.
_NEAR = 4


@dataclass
class Row:
    """One job on its way to being measured; readings by their serial number.

    Discarded are the ``throttled`` readings, beside a slow sentinel; the ``contended`` ones, beside
    a slow sentinel of the memory; and the ``preempted`` ones, for which the process did not have
    the core to itself.
    """

    job: Job
    readings: dict[int, Reading] = field(default_factory=dict)
    throttled: dict[int, Reading] = field(default_factory=dict)
    contended: dict[int, Reading] = field(default_factory=dict)
    preempted: dict[int, Reading] = field(default_factory=dict)
    crashes: int = 0
    error: str = ""

    @property
    def discards(self) -> int:
        """How many readings were discarded."""
        return len(self.throttled) + len(self.contended) + len(self.preempted)


def relative_error(rounds_s: Iterable[float]) -> float:
    """Standard error of the median over rounds, from the rounds' median absolute deviation."""
    estimates = np.array(list(rounds_s))
    if len(estimates) < 2:
        return math.inf
    middle = float(np.median(estimates))
    sigma = 1.4826 * float(np.median(np.abs(estimates - middle)))
    return float(1.2533 * sigma / np.sqrt(len(estimates)) / middle)


def _idle_times(readings: Sequence[Reading]) -> SentinelTimes:
    core_s = [r.sentinel_s for r in readings]
    memory_s = [r.memory_s for r in readings if r.memory_s]
    return SentinelTimes(_idle_s(core_s), _idle_s(memory_s))


def _idle_s(sentinels_s: Sequence[float]) -> float:
    """What a sentinel takes while the device is idle: a low percentile, for the least is chance; of
    a few the median."""
    low = 20 if len(sentinels_s) >= 5 else 50
    return float(np.percentile(sentinels_s, low)) if len(sentinels_s) else math.inf


@dataclass(frozen=True)
class Verdict:
    """A row that is done, its status (see STATUSES), the slowdown beside each of its readings, and
    the reason."""

    row: Row
    status: str
    slowdowns: tuple[float, ...] = ()
    detail: str = ""


class Schedule:
    """Rows, and the order in which their rounds are run.

    Args:
        jobs: each once.
        known: readings from an earlier run, by serial number.
        seen: all readings of that run by serial number, those discarded included.
        baseline: what the sentinels take while the device is idle, as far as is known.
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        settings: ScheduleSettings,
        known: Mapping[Job, Mapping[int, Reading]] | None = None,
        seen: Mapping[int, Reading] | None = None,
        baseline: SentinelTimes = _UNKNOWN,
    ) -> None:
        self.settings: Final = settings
        known, seen = known or {}, seen or {}
        self._random = random.Random(settings.seed)
        self._open = {job: Row(job, dict(known.get(job, {}))) for job in jobs}
        self._serial = 1 + max(seen, default=-1)
        self._sentinel_s = {n: reading.sentinel_s for n, reading in seen.items()}
        #: What the sentinels take while the device is idle.
        self.baseline = baseline.fastest(_idle_times(list(seen.values())))
        self._round: list[Reading] = []

    @property
    def readings_left(self) -> int:
        """At least this many readings are still wanted."""
        least = self.settings.min_rounds
        return sum(max(1, least - len(row.readings)) for row in self._open.values())

    def round(self) -> list[Job]:
        """Begin a round: shuffled jobs.

        The rows with the fewest readings come first, so that background load meets all rows alike;
        empty when every row is finished.
        """
        rows = list(self._open.values())
        self._random.shuffle(rows)
        rows.sort(key=lambda row: len(row.readings) // max(1, self.settings.min_rounds))
        chosen = rows[: self.settings.batch]
        self._random.shuffle(chosen)
        # A job that ended a process goes last, where it costs no other.
        chosen.sort(key=lambda row: row.crashes)
        return [row.job for row in chosen]

    def add(self, job: Job, reading: Reading) -> int:
        """Take a reading in; returns its serial number."""
        serial, self._serial = self._serial, self._serial + 1
        row = self._open[job]
        row.readings[serial], row.crashes = reading, 0
        self._sentinel_s[serial] = reading.sentinel_s
        self._round.append(reading)
        return serial

    def preempt(self, job: Job, serial: int) -> None:
        """Discard a reading: other tasks took the core meanwhile."""
        row = self._open[job]
        row.preempted[serial] = row.readings.pop(serial)

    def refuse(self, job: Job, error: str) -> None:
        self._open[job].error = error

    def crash(self, job: Job, error: str) -> None:
        """The process died, hung or broke the protocol while it had this job."""
        row = self._open[job]
        row.crashes += 1
        if row.crashes >= self.settings.max_crashes:
            row.error = error

    def end_round(self) -> tuple[list[tuple[Job, int]], list[tuple[Job, int]]]:
        """Discard the readings beside a slow sentinel, and those beside a slow one of the memory
        alone; returns both.

        All readings of rows not yet finished are compared again with the present baseline: a run
        that begins beside background load learns only later what idle is. The baseline is that of
        the fastest round: slow rounds, however many, must not become what is normal.
        """
        self.baseline = self.baseline.fastest(_idle_times(self._round))
        self._round.clear()
        limit = self.settings.limit(self.baseline)
        throttled, contended = [], []
        for job, row in self._open.items():
            for serial, reading in list(row.readings.items()):
                if reading.sentinel_s > limit.core_s:
                    row.throttled[serial] = row.readings.pop(serial)
                    throttled.append((job, serial))
                elif reading.memory_s > limit.memory_s:
                    row.contended[serial] = row.readings.pop(serial)
                    contended.append((job, serial))
        return throttled, contended

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
        if row.discards < limits.min_discards:
            return None
        why = f"{len(row.throttled)} readings throttled, {len(row.preempted)} preempted"
        if row.contended:
            why = f"{why}, {len(row.contended)} memory-contended"
        why = f"{why}, {count} kept"
        if count >= limits.min_rounds:
            return self._done(row, "noisy", why)
        # Low percentiles of what is shorter than a time slice hold on a preempted core, too; where
        # they do not, the rounds disagree.
        if self._agree(together := row.readings | row.preempted):
            row.readings = together
            return self._done(row, "noisy", f"{why}; the rounds agree")
        # The memory may be contended for hours, and not every job depends on it.
        if row.contended and self._agree(together := row.readings | row.contended):
            row.readings = together
            return self._done(row, "noisy", f"{why}; the rounds agree")
        if count * limits.max_discards >= limits.min_rounds * row.discards:
            return None  # at this rate enough readings will be kept in time
        # A device may go on a little slower than it was for good.
        limit_s = limits.max_corrected_slowdown * self.baseline.core_s
        slow = {n: r for n, r in row.throttled.items() if r.sentinel_s <= limit_s}
        if self._agree(slow):
            row.readings = slow
            slowdown = float(np.median([self._slowdown(n) for n in slow]))
            text = f"{why}; the throttled ones agree, at a slowdown of {slowdown:.2f}"
            return self._done(row, "noisy", text)
        if row.discards < limits.max_discards:
            return None
        if row.contended and len(together := row.readings | row.contended) >= limits.min_rounds:
            row.readings = together
            return self._done(row, "noisy", f"{why}; used all the same")
        row.readings |= row.preempted | row.contended | row.throttled
        return self._done(row, "throttled", why)

    def _agree(self, readings: Mapping[int, Reading]) -> bool:
        enough = len(readings) >= self.settings.min_rounds
        return enough and self._error(readings) <= self.settings.noisy

    def _done(self, row: Row, status: str, detail: str = "") -> Verdict:
        return Verdict(row, status, tuple(map(self._slowdown, row.readings)), detail)

    def _error(self, readings: Mapping[int, Reading]) -> float:
        return relative_error(r.p20_s / self._slowdown(n) for n, r in readings.items())

    def _slowdown(self, serial: int) -> float:
        """How many times slower than idle the device was beside a reading; 1 beyond
        ``max_corrected_slowdown``, where ops do not all slow down alike and the sentinel does not
        tell by how much.

        A sentinel that alone was slow, of those a few readings before and after, met a load that
        was shorter than a reading.
        """
        near = range(serial - _NEAR, serial + _NEAR + 1)
        usual_s = statistics.median(self._sentinel_s[n] for n in near if n in self._sentinel_s)
        took_s, idle_s = min(self._sentinel_s[serial], usual_s), self.baseline.core_s
        if not 0 < took_s <= self.settings.max_corrected_slowdown * idle_s < math.inf:
            return 1.0
        return took_s / idle_s
