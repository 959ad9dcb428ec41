"""Latency laws, one file each: tile, interpolation, roofline; what they share."""

from __future__ import annotations

from latprof.surrogate.methods._interpolate import CubicLaw, LinearLaw, PchipLaw
from latprof.surrogate.methods._law import Law
from latprof.surrogate.methods._roofline import RooflineLaw
from latprof.surrogate.methods._steps import step_of
from latprof.surrogate.methods._tile import TileLaw

__all__ = [
    "CubicLaw",
    "Law",
    "LinearLaw",
    "PchipLaw",
    "RooflineLaw",
    "TileLaw",
    "step_of",
]
