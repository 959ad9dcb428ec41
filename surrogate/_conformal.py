"""Intervals by conformal prediction: as wide as held-out errors were, scaled to each op."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from latprof.errors import FitError
from latprof.surrogate._shapes import Floats, Shapes
from latprof.surrogate.methods import Law, averaged

__all__ = ["COVERAGE", "FEW_WIDTHS", "HeldOut", "cross_validate", "quantile"]

#: The part of new ops whose latency the intervals are to hold.
COVERAGE = 0.90

#: Widths of an interval of that coverage in standard deviations, where a kind of op has this many
#: rows and none could be held out: a normal error's, and Student's for the few.
FEW_WIDTHS = (1.645, 2.35, 2.13, 2.02)

#: Folds of cross-validation; fewer where rows abound, for their cost grows with the cube.
_FOLDS, _FOLDS_OF_MANY, _MANY = 10, 4, 600


@dataclass(frozen=True)
class HeldOut:
    """Predictions of rows by a law that had not seen them.

    Args:
        rows: which rows, (T,).
        predicted_s, latency_s: (T,) seconds.
        spread: (T,) the law's own unsureness of each.
        n_train: rows each prediction was made from, on average.
    """

    rows: NDArray[np.intp]
    predicted_s: Floats
    latency_s: Floats
    spread: Floats
    n_train: int

    def __getitem__(self, chosen: NDArray[np.intp]) -> HeldOut:
        """Of some of the predictions."""
        return replace(
            self,
            rows=self.rows[chosen],
            predicted_s=self.predicted_s[chosen],
            latency_s=self.latency_s[chosen],
            spread=self.spread[chosen],
        )

    @property
    def errors(self) -> Floats:
        """(T,) predicted / measured - 1."""
        return np.asarray(self.predicted_s / self.latency_s - 1)

    @property
    def mape(self) -> float:
        return float(np.abs(self.errors).mean())

    @property
    def within_10pct(self) -> float:
        return float((np.abs(self.errors) <= 0.10).mean())

    @property
    def log_errors(self) -> Floats:
        """(T,) |log error|."""
        return np.asarray(np.abs(np.log(self.latency_s / self.predicted_s)))

    @property
    def scores(self) -> Floats:
        """(T,) |log error| in units of the law's spread."""
        return np.asarray(self.log_errors / self.spread)

    @classmethod
    def joined(cls, parts: Sequence[HeldOut]) -> HeldOut:
        """Several labels' predictions as one."""
        return cls(
            rows=np.concatenate([part.rows for part in parts]),
            predicted_s=np.concatenate([part.predicted_s for part in parts]),
            latency_s=np.concatenate([part.latency_s for part in parts]),
            spread=np.concatenate([part.spread for part in parts]),
            n_train=sum(part.n_train for part in parts),
        )

    @classmethod
    def averaged(cls, parts: Sequence[HeldOut]) -> HeldOut:
        """Of the blend of laws that predicted the same rows."""
        first = parts[0]
        predicted_s = averaged([part.predicted_s for part in parts])
        return replace(first, predicted_s=predicted_s, spread=averaged([p.spread for p in parts]))


def cross_validate(law: Law, shapes: Shapes, latency_s: Floats, *, seed: int = 0) -> HeldOut:
    """Predict every row by the law refitted without it, in folds.

    Where families form grids, whole lines of the grid are left out, so that what is left is a
    grid and what is left out lies off it: leaving out single points flatters interpolation.
    """
    parts = []
    for held in _folds(shapes, seed):
        refitted = law.refit(shapes[~held], latency_s[~held])
        parts.append(
            HeldOut(
                rows=np.flatnonzero(held),
                predicted_s=refitted.latency_s(shapes[held]),
                latency_s=latency_s[held],
                spread=refitted.spread(shapes[held]),
                n_train=int((~held).sum()),
            )
        )
    if not parts:
        raise FitError(f"{len(shapes)} rows cannot be cross-validated; measure at least 3")
    return replace(HeldOut.joined(parts), n_train=parts[0].n_train)


def quantile(scores: Floats) -> float:
    """The conformal quantile of scores: (n + 1) COVERAGE / n, the largest where n is small."""
    n = len(scores)
    return float(np.quantile(scores, min((n + 1) * COVERAGE / n, 1.0), method="higher"))


def _folds(shapes: Shapes, seed: int) -> Iterator[NDArray[np.bool_]]:
    rng = np.random.default_rng(seed)
    folds = _FOLDS if len(shapes) <= _MANY else _FOLDS_OF_MANY
    member = np.zeros((folds, len(shapes)), dtype=bool)
    dealt = 0  # rows go round the folds through all families, for a family may have one row
    for name in dict.fromkeys(shapes.family):
        rows = shapes.family == name
        lines = _grid_lines(shapes, rows)
        for number, line in enumerate(lines):
            member[number % folds] |= line
        if not lines:
            order = rng.permutation(np.arange(dealt, dealt + rows.sum()) % folds)
            member[order, np.flatnonzero(rows)] = True
            dealt += int(rows.sum())
    yield from (held for held in member if held.any() and not held.all())


def _grid_lines(shapes: Shapes, rows: NDArray[np.bool_]) -> list[NDArray[np.bool_]]:
    """The inner lines of a family's grid; none where its rows form no grid worth the name."""
    counts = (shapes.c_in, shapes.c_out)
    axes = [np.unique(c[rows]) for c in counts]
    if shapes.tied or min(map(len, axes)) < 4 or len(axes[0]) * len(axes[1]) != rows.sum():
        return []
    return [
        rows & (c == count) for c, axis in zip(counts, axes, strict=True) for count in axis[1:-1]
    ]
