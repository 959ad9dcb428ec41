"""What to time next, what to keep, and when a row is done. Pure logic: no clock, no device."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from latprof._errors import UsageError, WorkloadError
from latprof.devices._device import Job, Reading

__all__ = ["Row", "Schedule", "ScheduleSettings", "Sentinel"]


@dataclass(frozen=True)
class ScheduleSettings:
    """How hard to look.

    Args:
        round_s: seconds of warm-up and timing per job and round.
        min_rounds, max_rounds: fresh processes per job.
        converged: the relative standard error at which a row is done.
        noisy: the relative standard error above which a row that ran out of rounds is ``noisy``.
        sentinel_every: jobs between two sentinels: the window that is discarded together.
        sentinel_limit: a sentinel this many times its baseline means throttled or disturbed.
        min_busy: less of the core than this means that others took it.
        max_discards: disturbed readings of one job before it is kept and flagged.
        max_strikes: times a job may take its process down before it is given up.
        batch: jobs per round; one process runs them all.
        seed: of the shuffles.
    """

    round_s: float = 0.0075
    min_rounds: int = 5
    max_rounds: int = 9
    converged: float = 0.005
    noisy: float = 0.02
    sentinel_every: int = 8
    sentinel_limit: float = 1.10
    min_busy: float = 0.90
    max_discards: int = 12
    max_strikes: int = 2
    batch: int = 256
    seed: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.min_rounds <= self.max_rounds:
            raise UsageError(
                f"rounds are {self.min_rounds} to {self.max_rounds}; expected 1 <= min <= max"
            )
        for name in ("round_s", "sentinel_every", "max_discards", "max_strikes", "batch"):
            if getattr(self, name) <= 0:
                raise UsageError(f"{name} is {getattr(self, name)!r}; expected > 0")


@dataclass
class Row:
    """One job on its way to being measured."""

    job: Job
    readings: list[Reading] = field(default_factory=list)
    disturbed: list[Reading] = field(default_factory=list)
    strikes: int = 0
    error: str = ""

    @property
    def relative_error(self) -> float:
        """Standard error of the median over rounds, from the rounds' median absolute deviation."""
        if len(self.readings) < 2:
            return float("inf")
        estimates = np.array([r.p20_s for r in self.readings])
        middle = float(np.median(estimates))
        sigma = 1.4826 * float(np.median(np.abs(estimates - middle)))
        return float(1.2533 * sigma / np.sqrt(len(estimates)) / middle)


class Sentinel:
    """The baseline of the workload that is measured again and again."""

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self._seen_s: list[float] = []

    def add(self, reading: Reading) -> float:
        if reading.error:
            raise WorkloadError(
                f"the device refuses the sentinel, so no row can be trusted: {reading.error}"
            )
        self._seen_s.append(reading.p20_s)
        return reading.p20_s

    def disturbed(self, value_s: float) -> bool:
        # The lower quartile, not the minimum: one lucky memory layout must not condemn the rest.
        return value_s > self._limit * float(np.percentile(self._seen_s, 25))


class Schedule:
    """Rows, and the order in which their rounds are run.

    Args:
        jobs: each once.
        known: readings from an earlier run.
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        settings: ScheduleSettings,
        known: dict[Job, list[Reading]] | None = None,
    ) -> None:
        self.settings: Final = settings
        self._random = random.Random(settings.seed)
        self._open = {job: Row(job, list((known or {}).get(job, ()))) for job in jobs}

    @property
    def rounds_left(self) -> int:
        """At least this many readings are still wanted."""
        least = self.settings.min_rounds
        return sum(max(1, least - len(row.readings)) for row in self._open.values())

    def windows(self) -> list[list[Job]]:
        """One round: shuffled jobs in windows, a sentinel to be put before, between and after.

        The rows with the fewest readings come first, so that all rows share the same weather; empty
        when every row is finished.
        """
        rows = list(self._open.values())
        self._random.shuffle(rows)
        rows.sort(key=lambda row: len(row.readings) // max(1, self.settings.min_rounds))
        chosen = rows[: self.settings.batch]
        self._random.shuffle(chosen)
        step = self.settings.sentinel_every
        return [[row.job for row in chosen[i : i + step]] for i in range(0, len(chosen), step)]

    def keep(self, job: Job, reading: Reading) -> None:
        self._open[job].readings.append(reading)

    def discard(self, job: Job) -> None:
        """Take back the last reading: it was disturbed."""
        row = self._open[job]
        row.disturbed.append(row.readings.pop())

    def refuse(self, job: Job, error: str) -> None:
        self._open[job].error = error

    def strike(self, job: Job, error: str) -> None:
        """The process died, hung or talked nonsense while it had this job."""
        row = self._open[job]
        row.strikes += 1
        if row.strikes >= self.settings.max_strikes:
            row.error = error

    def finish(self) -> list[tuple[Row, str, str]]:
        """Take out the rows that are done, each with its status and the reason for it."""
        done = []
        for job, row in list(self._open.items()):
            if (verdict := self._verdict(row)) is not None:
                del self._open[job]
                done.append((row, *verdict))
        return done

    def _verdict(self, row: Row) -> tuple[str, str] | None:
        limits = self.settings
        if row.error:
            row.readings.clear()
            return "failed", row.error
        count = len(row.readings)
        if count >= limits.min_rounds and row.relative_error <= limits.converged:
            return "ok", ""
        if count >= limits.max_rounds:
            if row.relative_error <= limits.noisy:
                return "ok", ""
            return "noisy", f"standard error {row.relative_error:.1%} after {count} rounds"
        if len(row.disturbed) >= limits.max_discards:
            if count >= limits.min_rounds:
                return "noisy", f"{len(row.disturbed)} rounds disturbed, {count} clean"
            row.readings += row.disturbed
            return "disturbed", f"{len(row.disturbed)} of {len(row.readings)} rounds disturbed"
        return None
