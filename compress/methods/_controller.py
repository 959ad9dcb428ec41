"""The strength of the regulariser, steered so that one run lands on the budget."""

from __future__ import annotations

import math

__all__ = ["ramp", "steer"]

#: Share of the mask phase after which the budget must be met; the rest lets the masks settle.
_RAMP = 0.8
#: Growth of log lambda over the whole phase for a lag as large as the whole way to go.
_GAIN = 30.0
#: Below the line channels go that are hard to win back, so lambda falls faster than it rises.
_FALL = 4.0


def ramp(progress: float) -> float:
    """Share of the way from the original to the budget that should be behind at ``progress`` in
    [0, 1] of the mask phase. Linear, as the paper anneals lambda; here it is the cost itself."""
    return min(1.0, progress / _RAMP)


def steer(strength: float, lag: float, steps: int) -> float:
    """Lambda for the next step.

    Args:
        strength: lambda now, > 0.
        lag: how far the cost is above where it should be, as a share of the whole way.
        steps: times in the mask phase that this is asked.
    """
    lag = max(-0.5, min(0.5, lag)) * (_FALL if lag < 0 else 1.0)
    return strength * math.exp(_GAIN * lag / steps)
