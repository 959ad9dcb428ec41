"""Which shapes to measure."""

from __future__ import annotations

from latprof.tables.plan._adaptive import AdaptivePlan, Oracle
from latprof.tables.plan._few_bits import few_bits
from latprof.tables.plan._in_pattern import in_pattern
from latprof.tables.plan._plan import METHODS, paper_axis, plan

__all__ = [
    "METHODS",
    "AdaptivePlan",
    "Oracle",
    "few_bits",
    "in_pattern",
    "paper_axis",
    "plan",
]
