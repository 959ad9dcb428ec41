"""Masks in place: the weights a network computes with while masks multiply them."""

from __future__ import annotations

from latprof.compress.masks._host import HostScalar
from latprof.compress.masks._masks import MaskRules, UnitMasks
from latprof.compress.masks._optimizer import STEPS_OF_MASKS, MaskOptimizer
from latprof.compress.masks._processes import average, broadcast, from_first
from latprof.compress.masks._weights import Weights

__all__ = [
    "STEPS_OF_MASKS",
    "HostScalar",
    "MaskOptimizer",
    "MaskRules",
    "UnitMasks",
    "Weights",
    "average",
    "broadcast",
    "from_first",
]
