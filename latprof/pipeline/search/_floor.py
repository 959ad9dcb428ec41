"""The floor that samples are judged by."""

from __future__ import annotations

from dataclasses import dataclass

from latprof.compress import Judgment, Task
from latprof.pipeline.run import Keep

__all__ = ["CHOICE_ERRORS", "Floor"]

#: Standard errors that the choice is to be above the floor. One lets a network pass by luck in one
#: of six cases, and of several that are near the floor the luckiest would be chosen.
CHOICE_ERRORS = 1.28


@dataclass(frozen=True)
class Floor:
    """What a metric is to keep, one standard error included.

    Args:
        keep: as it was asked for.
        original: the original's figure on the held-out data.
        value: the least figure that keeps it, or the largest, where lower is better.
        higher_is_better: the direction in which the metric improves.
    """

    keep: str
    original: Judgment
    value: float
    higher_is_better: bool

    @classmethod
    def of(cls, keep: str, original: Judgment, task: Task) -> Floor:
        """Of ``keep`` as RUN.toml has it."""
        value = Keep.parse(keep).floor(original.value, task.metric, task.higher_is_better)
        return cls(keep, original, value, task.higher_is_better)

    def excess(self, judged: Judgment) -> float:
        """How much better the figure is than the floor."""
        return (judged.value - self.value) * (1 if self.higher_is_better else -1)

    def passes(self, judged: Judgment) -> bool:
        """Whether the figure less one standard error keeps the floor."""
        return self.excess(judged) - judged.standard_error >= 0

    def passes_surely(self, judged: Judgment) -> bool:
        """Whether it is so far above the floor that the best of several such may be chosen."""
        return self.excess(judged) - CHOICE_ERRORS * judged.standard_error >= 0

    def would_take(self, judged: Judgment) -> float:
        """The floor that this figure would keep."""
        sign = 1 if self.higher_is_better else -1
        return judged.value - sign * judged.standard_error
