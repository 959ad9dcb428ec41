"""Finding the steps that the values of a weight are multiples of, row by row.

A row is an output channel, or 32 neighboring inputs of one; its values are whole multiples of a
step of its own, and zero is one of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["BLOCK", "RowGrid", "row_grids", "steps_of"]

Floats = NDArray[np.float32]
Steps = NDArray[np.int64]

#: Inputs that share a step.
BLOCK = 32
#: Distances from a rounded step that are tried, in units of its last place.
_NEAR = range(-4, 5)
_MOST_STEPS = 255
#: Rows that are tried before all others: one that is on no grid ends the search.
_FIRST = 16


@dataclass(frozen=True)
class RowGrid:
    """A weight as whole multiples of a step per row.

    Args:
        steps: (S, n), padded with zeros to whole blocks.
        scale: (S,) the step of each row.
        axis: dim of the weight that comes first in the rows.
        shape: of the weight, that dim first.
    """

    steps: Steps
    scale: Floats
    axis: int
    shape: tuple[int, ...]

    @property
    def is_padded(self) -> bool:
        """Whether rows hold more than the weight."""
        return bool(self.steps.size != int(np.prod(self.shape)))


def row_grids(weight: Floats) -> Iterator[RowGrid]:
    """By channel and by block, along the first dim and the second, those that hold exactly."""
    if weight.ndim < 2 or not np.isfinite(weight).all():
        return
    for axis in (0, 1):
        moved = np.ascontiguousarray(np.moveaxis(weight, axis, 0))
        flat = moved.reshape(len(moved), -1)
        inputs = flat.shape[1]
        for block in (inputs, BLOCK) if inputs > BLOCK else (inputs,):
            rows = np.pad(flat, ((0, 0), (0, -flat.shape[1] % block))).reshape(-1, block)
            if len(rows) == 1:
                continue
            found = steps_of(rows)
            if found is not None:
                yield RowGrid(*found, axis, moved.shape)


def steps_of(rows: Floats, tolerance: float = 0.0) -> tuple[Steps, Floats] | None:
    """(steps (S, n), scale (S,)) with rows == steps * scale, over at most 255 steps; None where a
    row is on no such grid.

    Args:
        rows: (S, n), finite.
        tolerance: by which share a value may be off.
    """
    if len(rows) > _FIRST and _fitted(rows[:_FIRST], tolerance) is None:
        return None
    return _fitted(rows, tolerance)


def _fitted(rows: Floats, tolerance: float) -> tuple[Steps, Floats] | None:
    exact = rows.astype(np.float64)
    low, high = exact.min(1).clip(max=0), exact.max(1).clip(min=0)
    ordered = np.sort(np.concatenate([exact, np.zeros((len(exact), 1))], axis=1), axis=1)
    gaps = np.diff(ordered, axis=1)
    gaps[gaps <= 0] = np.inf
    gap = gaps.min(1)  # of the nearest two values; a whole number of steps
    blank = ~np.isfinite(gap)
    gap[blank] = 1.0
    steps = np.zeros(rows.shape, np.int64)
    scale = np.ones(len(rows), np.float32)
    left = np.flatnonzero(~blank)
    for parts in range(1, _MOST_STEPS + 1):
        if not left.size:
            break
        if (_MOST_STEPS * gap[left] / parts < (high - low)[left] * (1 - 1e-3)).any():
            return None  # of a row that is on a grid, few steps would have told
        found, near, fits = _multiples(exact[left], rows[left], gap[left] / parts, tolerance)
        steps[left[fits]], scale[left[fits]] = found[fits], near[fits]
        left = left[~fits]
    return None if left.size else (steps, scale)


def _multiples(
    exact: NDArray[np.float64], rows: Floats, gap: NDArray[np.float64], tolerance: float
) -> tuple[Steps, Floats, NDArray[np.bool_]]:
    """Steps of about this length, the nearest float32 length, and whether all values of a row are
    steps times it."""
    for _ in range(3):  # the least gap is rounded, and all values together less so
        steps = np.round(exact / gap[:, None])
        squares = (steps * steps).sum(1)
        gap = np.where(squares > 0, (exact * steps).sum(1) / np.maximum(squares, 1), gap)
        gap = np.where(gap > 0, gap, 1.0)
    scale = gap.astype(np.float32)
    fits = np.zeros(len(rows), bool)
    best = scale.copy()
    whole = steps.astype(np.float32)
    near_enough = tolerance * np.abs(rows)
    for off in _NEAR:
        near = (scale + off * np.spacing(scale)).astype(np.float32)
        same = (np.abs(whole * near[:, None] - rows) <= near_enough).all(1) & ~fits
        best[same] = near[same]
        fits |= same
    fits &= steps.max(1).clip(min=0) - steps.min(1).clip(max=0) <= _MOST_STEPS
    return steps.astype(np.int64), best, fits
