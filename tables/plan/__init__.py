"""Which shapes to measure."""

from __future__ import annotations

from latprof.tables.plan._adaptive import AdaptivePlan, Oracle
from latprof.tables.plan._plan import METHODS, paper_axis, plan

__all__ = [
    "METHODS",
    "AdaptivePlan",
    "Oracle",
    "paper_axis",
    "plan",
]
