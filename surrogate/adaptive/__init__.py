"""Measuring where the surrogate knows least."""

from __future__ import annotations

from latprof.surrogate.adaptive._adaptive import SurrogateOracle, measure_adaptively
from latprof.surrogate.adaptive._chosen import chosen_for, chosen_from

__all__ = [
    "SurrogateOracle",
    "chosen_for",
    "chosen_from",
    "measure_adaptively",
]
