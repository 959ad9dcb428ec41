"""Latency laws, one file each: tile, interpolation, roofline; what they share."""

from __future__ import annotations

from latprof.surrogate.methods._base import PhysicalBase, Tiled
from latprof.surrogate.methods._blend import BlendLaw, averaged
from latprof.surrogate.methods._gp import GaussianProcess
from latprof.surrogate.methods._interpolate import CubicLaw, LinearLaw, PchipLaw, Rows
from latprof.surrogate.methods._law import Law
from latprof.surrogate.methods._moved import Change, MovedLaw, Places
from latprof.surrogate.methods._physics_gp import PhysicsGPLaw
from latprof.surrogate.methods._roofline import RooflineLaw
from latprof.surrogate.methods._steps import step_of
from latprof.surrogate.methods._tile import ROWS_FOR_WAVES, SESSION, TileLaw, common_waves
from latprof.surrogate.methods._transfer import TransferLaw
from latprof.surrogate.methods._waves import WaveBase

#: What a fitted law is made of, whatever the method.
STORED = (
    BlendLaw, Change, CubicLaw, GaussianProcess, LinearLaw, MovedLaw, PchipLaw, PhysicalBase,
    PhysicsGPLaw, Places, RooflineLaw, Rows, TileLaw, Tiled, TransferLaw, WaveBase,
)  # fmt: skip

__all__ = [
    "ROWS_FOR_WAVES",
    "SESSION",
    "STORED",
    "BlendLaw",
    "Change",
    "CubicLaw",
    "Law",
    "LinearLaw",
    "MovedLaw",
    "PchipLaw",
    "PhysicsGPLaw",
    "Places",
    "RooflineLaw",
    "TileLaw",
    "TransferLaw",
    "WaveBase",
    "averaged",
    "common_waves",
    "step_of",
]
