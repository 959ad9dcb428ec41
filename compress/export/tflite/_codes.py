"""Weights as 8-bit codes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from latprof.compress.export._grids import Floats, steps_of
from latprof.compress.export.tflite._file import Codes

__all__ = ["codes_of"]

#: Dims that scales may lie along: of most weights the first, of depthwise ones the last.
_CHANNEL_DIMS = (0, -1)
#: A weight that batch norm was folded into is its factor times one on a grid, to this share.
_FOLDED = 2.0**-21


def codes_of(weight: Floats) -> Codes | None:
    """With one scale, else with one per channel; about zero where they fit. None where the weight
    is on no such grid. Values are off by 2^-21 of themselves at most, with a zero point by 2^-16 of
    a step, as the runtime decodes them."""
    if not np.isfinite(weight).all():
        return None
    whole = _steps(weight.reshape(1, -1))
    if whole is not None:
        return _codes(whole, weight[None], 0, weight.shape)
    for dim in _CHANNEL_DIMS:
        rows = np.ascontiguousarray(np.moveaxis(weight, dim, 0))
        found = _steps(rows.reshape(len(rows), -1))
        if found is not None:
            return _codes(found, rows, dim, weight.shape)
    return None


def _steps(rows: Floats) -> tuple[NDArray[np.int64], Floats] | None:
    """As ``steps_of``; exact where that can be."""
    near = steps_of(rows, _FOLDED)
    exact = None if near is None else steps_of(rows)
    return near if exact is None else exact


def _codes(
    found: tuple[NDArray[np.int64], Floats], rows: Floats, dim: int, shape: tuple[int, ...]
) -> Codes:
    """Of steps (S, n)."""
    steps, scale = found
    low, high = steps.min(1), steps.max(1)
    limits = np.iinfo(np.int8)
    outside = bool(low.min() < limits.min or high.max() > limits.max)
    zero = (limits.min - low.clip(max=0)) * outside  # (S,)
    codes = (steps + zero[:, None]).astype(np.int8).reshape(rows.shape)
    return Codes(np.moveaxis(codes, 0, dim).reshape(shape), scale, zero, dim)
