"""Masks in place: the weights a network computes with while masks multiply them."""

from __future__ import annotations

from latprof.compress.masks._ranks import agreed, average, share
from latprof.compress.masks._weights import Weights

__all__ = [
    "Weights",
    "agreed",
    "average",
    "share",
]
