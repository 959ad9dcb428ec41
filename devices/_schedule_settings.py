"""How much is measured per shape, and what is kept."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, field

from latprof.devices._sentinel_times import SentinelTimes
from latprof.devices._waiting import MAX_WAIT_SHARE
from latprof.errors import UsageError

__all__ = ["ScheduleSettings", "default_pause_s"]

#: Names the first pause in seconds where the settings do not.
PAUSE_VARIABLE = "LATPROF_PAUSE_S"


def default_pause_s() -> float:
    """``LATPROF_PAUSE_S``, else half a second."""
    text = os.environ.get(PAUSE_VARIABLE, "0.5")
    try:
        pause_s = float(text)
    except ValueError:
        pause_s = math.nan
    if not 0 <= pause_s < math.inf:
        raise UsageError(f"{PAUSE_VARIABLE} is {text!r}; expected seconds, such as 0.5")
    return pause_s


@dataclass(frozen=True)
class ScheduleSettings:
    """How much is measured: by default at most 75 ms per row, sentinels included.

    Args:
        round_s: seconds of warm-up and timing per job and round.
        min_rounds, max_rounds: fresh processes per job.
        converged: the relative standard error at which a row is done.
        noisy: the relative standard error above which a row that ran out of rounds is ``noisy``.
        max_slowdown: a sentinel this many times slower than on the idle device means throttling or
            background load; the reading beside it is discarded.
        max_memory_slowdown: the same of the sentinel of the memory.
        min_core_share: a reading that had less of its core than this was preempted; discarded.
        max_corrected_slowdown: throttled readings that agree are used, flagged and corrected for
            the measured slowdown, up to this slowdown of the sentinel.
        min_discards: discarded readings of one job from which on discarded ones that agree are
            used; see Row.
        max_discards: discarded readings of one job after which it is given up.
        max_crashes: times in a row that a job may take its process down before it is given up.
        batch: jobs per round; one process runs them all.
        pause_s: pause after a round that was mostly discarded; doubles each time, up to fourfold.
            ``LATPROF_PAUSE_S`` in the environment, else 0.5; with 0 nothing is waited for.
        max_wait_share: all waiting for an idle device, pauses included, over the time spent
            measuring.
        seed: of the shuffles.
    """

    round_s: float = 0.0075
    min_rounds: int = 7
    max_rounds: int = 9
    converged: float = 0.005
    noisy: float = 0.02
    max_slowdown: float = 1.10
    max_memory_slowdown: float = 1.20
    min_core_share: float = 0.90
    max_corrected_slowdown: float = 1.4
    min_discards: int = 8
    max_discards: int = 24
    max_crashes: int = 3
    batch: int = 256
    pause_s: float = field(default_factory=default_pause_s)
    max_wait_share: float = MAX_WAIT_SHARE
    seed: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.min_rounds <= self.max_rounds:
            raise UsageError(
                f"rounds are {self.min_rounds} to {self.max_rounds}; expected 1 <= min <= max"
            )
        for name in ("round_s", "min_discards", "max_discards", "max_crashes", "batch"):
            if not getattr(self, name) > 0:
                raise UsageError(f"{name} is {getattr(self, name)!r}; expected > 0")
        for name in ("pause_s", "max_wait_share"):
            if not 0 <= getattr(self, name) < math.inf:
                raise UsageError(f"{name} is {getattr(self, name)!r}; expected >= 0")

    def limit(self, baseline: SentinelTimes) -> SentinelTimes:
        """What the sentinels take at most beside a reading that is kept."""
        return SentinelTimes(
            self.max_slowdown * baseline.core_s, self.max_memory_slowdown * baseline.memory_s
        )
