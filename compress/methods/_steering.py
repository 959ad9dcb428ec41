"""The weight of the penalty, lambda, steered so that one run lands on the budget."""

from __future__ import annotations

import math

__all__ = ["steer"]

#: Growth of log lambda over the whole phase for a gap as large as the whole way to the budget.
_GAIN = 30.0
#: Below the target channels go that are hard to win back, so lambda falls faster than it rises.
_FALL = 4.0
#: A gap is taken to be no larger than this share of the whole way.
_MAX_GAP = 0.5


def steer(weight: float, gap: float, steerings: int) -> float:
    """Lambda until the next steering.

    Args:
        weight: lambda now, > 0.
        gap: how far the cost is above its target, as a share of the way to the budget.
        steerings: times in the mask phase that lambda is steered.
    """
    gap = max(-_MAX_GAP, min(_MAX_GAP, gap)) * (_FALL if gap < 0 else 1.0)
    return weight * math.exp(_GAIN * gap / steerings)
