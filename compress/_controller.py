"""The strength of the regulariser, steered so that one run lands on the budget."""

from __future__ import annotations

import math

__all__ = ["steer", "wanted_s"]

#: Share of the mask phase after which the budget must be met; the rest lets the masks settle.
_RAMP = 0.8
#: Growth of log lambda over the whole phase for a lag as large as the whole way to go.
_GAIN = 30.0
#: Below the line channels go that are hard to win back, so lambda falls faster than it rises.
_FALL = 4.0


def wanted_s(progress: float, full_s: float, budget_s: float) -> float:
    """The latency that should be reached at ``progress`` in [0, 1] of the mask phase, seconds.

    Linear, as the paper anneals lambda; here the latency itself is what is annealed.
    """
    return full_s - (full_s - budget_s) * min(1.0, progress / _RAMP)


def steer(
    strength: float, latency_s: float, wanted: float, full_s: float, budget_s: float, steps: int
) -> float:
    """Lambda for the next step.

    Args:
        strength: lambda now, > 0.
        latency_s: predicted at the true counts.
        wanted: what ``wanted_s`` asks for now, seconds.
        steps: length of the mask phase.
    """
    lag = (latency_s - wanted) / (full_s - budget_s)
    lag = max(-0.5, min(0.5, lag)) * (_FALL if lag < 0 else 1.0)
    return strength * math.exp(_GAIN * lag / steps)
