"""Measuring where the surrogate knows least."""

from __future__ import annotations

from latprof.surrogate.adaptive._adaptive import SurrogateOracle, measure_adaptively

__all__ = [
    "SurrogateOracle",
    "measure_adaptively",
]
