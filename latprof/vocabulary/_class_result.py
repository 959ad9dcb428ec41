"""What a compression did to each class of a classification."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["ClassResult", "lost_classes"]

#: A class that loses so many times what all lose on average is named.
_TIMES_THE_MEAN = 5.0
#: And so many standard errors of its own loss: small classes vary by chance.
_STANDARD_ERRORS = 2.0


@dataclass(frozen=True)
class ClassResult:
    """One class of the test data.

    Args:
        label: its number.
        rows: of the test data.
        before, after: share of them that the original and the compressed network get right.
    """

    label: int
    rows: int
    before: float
    after: float

    @property
    def lost(self) -> float:
        """Share of its rows that it loses; below zero where it gains."""
        return self.before - self.after

    @property
    def standard_error(self) -> float:
        """Of ``lost``, as if both figures were of separate draws, which is at least the true one
        where the two networks err on the same rows."""
        variances = (share * (1 - share) for share in (self.before, self.after))
        return math.sqrt(sum(variances) / self.rows)


def lost_classes(classes: Sequence[ClassResult]) -> list[ClassResult]:
    """Classes that lose more than five times the mean loss, beyond chance; the worst first."""
    rows = sum(c.rows for c in classes)
    mean = sum(c.lost * c.rows for c in classes) / max(rows, 1)
    limit = _TIMES_THE_MEAN * max(mean, 0.0)
    found = [
        c for c in classes if c.lost > limit and c.lost > _STANDARD_ERRORS * c.standard_error > 0
    ]
    return sorted(found, key=lambda c: -c.lost)
