"""What a run says of itself: the conditions it measured under, and whether it came to anything."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from latprof.vocabulary import Timing

__all__ = ["Conditions", "mostly_failed"]


@dataclass(frozen=True)
class Conditions:
    """Measurement conditions of a run so far.

    Args:
        readings: taken in all.
        throttled: of these, discarded beside a slow sentinel.
        preempted: discarded because other tasks took the core meanwhile.
        memory_contended: discarded beside a slow sentinel of the memory.
        waited_s: seconds waited for an idle device, at most a share of ``measured_s``.
        measured_s: seconds spent measuring.
    """

    readings: int = 0
    throttled: int = 0
    preempted: int = 0
    memory_contended: int = 0
    waited_s: float = 0.0
    measured_s: float = 0.0

    @property
    def beside_load(self) -> int:
        """Readings that were taken beside background load."""
        return self.throttled + self.preempted + self.memory_contended

    def __str__(self) -> str:
        """One line; empty where there was no background load."""
        if not self.beside_load:
            return ""
        return (
            f"{self.beside_load:,} of {self.readings:,} readings were taken beside background load "
            f"({self.throttled:,} throttled, {self.preempted:,} preempted, "
            f"{self.memory_contended:,} memory-contended); waited {self.waited_s:.1f} s for an "
            f"idle device in {self.measured_s:.1f} s of measuring"
        )


def mostly_failed(rows: Collection[Timing]) -> bool:
    """Whether more than half of the rows failed, so that the run is a failure as a whole."""
    return 2 * sum(row.status == "failed" for row in rows) > len(rows)
