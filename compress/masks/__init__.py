"""Masks in place: the weights a network computes with while masks multiply them."""

from __future__ import annotations

from latprof.compress.masks._masks import Masks
from latprof.compress.masks._optimizer import MaskOptimizer
from latprof.compress.masks._processes import average, broadcast, from_first
from latprof.compress.masks._weights import Weights

__all__ = [
    "MaskOptimizer",
    "Masks",
    "Weights",
    "average",
    "broadcast",
    "from_first",
]
