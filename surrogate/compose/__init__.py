"""How the ops of a model add up, and calibration with whole models."""

from __future__ import annotations

from latprof.surrogate.compose._calibrate import calibrate, uncalibrated
from latprof.surrogate.compose._composition import LOST, Composition

__all__ = [
    "LOST",
    "Composition",
    "calibrate",
    "uncalibrated",
]
