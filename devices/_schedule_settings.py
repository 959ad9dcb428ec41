"""How much is measured per shape, and what is kept."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from latprof.devices._pace import Pace
from latprof.errors import UsageError

__all__ = ["ScheduleSettings", "default_pause_s"]

#: Names the seconds to rest where the settings do not.
PAUSE_VARIABLE = "LATPROF_PAUSE_S"


def default_pause_s() -> float:
    """``LATPROF_PAUSE_S``, else half a second."""
    text = os.environ.get(PAUSE_VARIABLE, "0.5")
    try:
        return float(text)
    except ValueError:
        raise UsageError(f"{PAUSE_VARIABLE} is {text!r}; expected seconds, like 0.5") from None


@dataclass(frozen=True)
class ScheduleSettings:
    """How hard to look: by default at most 75 ms of measuring per row, sentinels included.

    Args:
        round_s: seconds of warm-up and timing per job and round.
        min_rounds, max_rounds: fresh processes per job.
        converged: the relative standard error at which a row is done.
        noisy: the relative standard error above which a row that ran out of rounds is ``noisy``.
        sentinel_limit: a sentinel this many times its baseline means throttled or disturbed.
        memory_limit: the same of the sentinel of the memory.
        min_busy: less of the core than this means that others took it meanwhile.
        settled_limit: slowed readings that agree are used, flagged, up to this pace of a sentinel.
        patience: readings of one job set aside before what agrees is enough; see Row.
        max_discards: readings of one job set aside before it is given up.
        max_strikes: times in a row that a job may take its process down before it is given up.
        batch: jobs per round; one process runs them all.
        pause_s: rest after a round that was mostly set aside; doubles each time, up to fourfold.
            ``LATPROF_PAUSE_S`` in the environment, else 0.5: with 0 nothing is waited for.
        seed: of the shuffles.
    """

    round_s: float = 0.0075
    min_rounds: int = 7
    max_rounds: int = 9
    converged: float = 0.005
    noisy: float = 0.02
    sentinel_limit: float = 1.10
    memory_limit: float = 1.20
    min_busy: float = 0.90
    settled_limit: float = 1.4
    patience: int = 8
    max_discards: int = 24
    max_strikes: int = 3
    batch: int = 256
    pause_s: float = field(default_factory=default_pause_s)
    seed: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.min_rounds <= self.max_rounds:
            raise UsageError(
                f"rounds are {self.min_rounds} to {self.max_rounds}; expected 1 <= min <= max"
            )
        positive = ("round_s", "patience", "max_discards", "max_strikes", "batch")
        for name in positive:
            if getattr(self, name) <= 0:
                raise UsageError(f"{name} is {getattr(self, name)!r}; expected > 0")

    def limit(self, best: Pace) -> Pace:
        """What the sentinels take at most beside an undisturbed reading."""
        return Pace(self.sentinel_limit * best.core_s, self.memory_limit * best.memory_s)
