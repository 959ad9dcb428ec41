"""How units are chosen: the penalty, projections onto the budget, and measured corrections."""

from __future__ import annotations

from latprof.compress.methods._correction import AIM, HIGH, LOW, MAX_MEASUREMENTS, Correction
from latprof.compress.methods._projection import Projection
from latprof.compress.methods._regularizer import Regularizer
from latprof.compress.methods._schedule import Schedule
from latprof.compress.methods._select import candidates
from latprof.compress.methods._shrunk import shrunk

__all__ = [
    "AIM",
    "HIGH",
    "LOW",
    "MAX_MEASUREMENTS",
    "Correction",
    "Projection",
    "Regularizer",
    "Schedule",
    "candidates",
    "shrunk",
]
