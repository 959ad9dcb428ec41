"""From a model and its masks to a physically smaller one, and back from its recipe."""

from __future__ import annotations

from latprof.compress.shrink._factored import split
from latprof.compress.shrink._recalibrate import recalibrate
from latprof.compress.shrink._recipe import load_shrunk, recipe_of
from latprof.compress.shrink._shrink import (
    TOLERANCE,
    compare,
    cut,
    exact_error,
    is_conv1d,
    random_inputs,
    relative_error,
    shrink,
    tolerance,
)
from latprof.compress.shrink._skip import gated
from latprof.compress.shrink._variant import variant

__all__ = [
    "TOLERANCE",
    "compare",
    "cut",
    "exact_error",
    "gated",
    "is_conv1d",
    "load_shrunk",
    "random_inputs",
    "recalibrate",
    "recipe_of",
    "relative_error",
    "shrink",
    "split",
    "tolerance",
    "variant",
]
