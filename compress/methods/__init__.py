"""How units are chosen: projections onto the budget, and the steering of lambda."""

from __future__ import annotations

from latprof.compress.methods._controller import ramp, steer
from latprof.compress.methods._correction import corrected
from latprof.compress.methods._projection import Projection
from latprof.compress.methods._select import candidates

__all__ = [
    "Projection",
    "candidates",
    "corrected",
    "ramp",
    "steer",
]
