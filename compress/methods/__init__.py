"""How units are chosen: methods, the penalty, projections onto the budget, measured corrections."""

from __future__ import annotations

from types import MappingProxyType

from latprof.compress.methods._correction import AIM, HIGH, LOW, MAX_MEASUREMENTS, Correction
from latprof.compress.methods._lc import LC
from latprof.compress.methods._masks import Masks, MaskSelection, paper
from latprof.compress.methods._method import MaskedSelection, Method, Parts, Selection
from latprof.compress.methods._projection import Projection
from latprof.compress.methods._regularizer import Regularizer
from latprof.compress.methods._schedule import Schedule
from latprof.compress.methods._scored import Gradual, OneShot
from latprof.compress.methods._select import candidates
from latprof.compress.methods._shrunk import shrunk
from latprof.compress.methods._threshold import Threshold

__all__ = [
    "AIM",
    "HIGH",
    "LC",
    "LOW",
    "MAX_MEASUREMENTS",
    "METHODS",
    "Correction",
    "Gradual",
    "MaskSelection",
    "MaskedSelection",
    "Masks",
    "Method",
    "OneShot",
    "Parts",
    "Projection",
    "Regularizer",
    "Schedule",
    "Selection",
    "Threshold",
    "candidates",
    "paper",
    "shrunk",
]

#: By the names that RUN.toml calls them, with the settings that they have there by default.
METHODS = MappingProxyType(
    {
        "masks": Masks(),
        "paper": paper(),
        "lc": LC(),
        "threshold": Threshold(),
        "gradual": Gradual(),
        "one_shot": OneShot(),
    }
)
