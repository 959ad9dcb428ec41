"""The table read by interpolation: ``linear`` (the paper's), ``pchip`` and ``cubic`` (scipy).

scipy is imported where it is used: it loads slowly, and a kept fit of other methods does without.
"""

from __future__ import annotations

import functools
import sys
from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

from latprof.errors import FitError
from latprof.surrogate._shapes import Floats, Shapes
from latprof.surrogate.methods._base import PhysicalBase
from latprof.surrogate.methods._law import Law
from latprof.workloads import Workload

if TYPE_CHECKING:
    from scipy.interpolate import PPoly

__all__ = ["CubicLaw", "LinearLaw", "PchipLaw", "Rows"]

#: (M, 2) counts -> (M,) seconds, NaN outside what was measured.
Interpolant = Callable[[Floats], Floats]


@dataclass(frozen=True)
class Rows:
    """One family's measurements: counts (N, 2) and seconds (N,)."""

    counts: Floats
    latency_s: Floats
    tied: bool


@dataclass(frozen=True)
class _Interpolated(Law):
    """A table per family, read between its rows by the method, and outside them by physics:
    the value at the nearest count that was measured, times the base's ratio of the two.

    Args:
        base: of the whole label; also answers for families without rows.
    """

    base: PhysicalBase
    families: Mapping[str, Rows]

    @functools.cached_property
    def _interpolants(self) -> dict[str, Interpolant | None]:
        """By family, what reads between its rows."""
        return {
            name: self._between(rows.counts, rows.latency_s, rows.tied)
            for name, rows in self.families.items()
        }

    @classmethod
    def fit(cls, shapes: Shapes, latency_s: Floats, *, seed: int = 0) -> Self:
        base = PhysicalBase.fit(shapes, latency_s, tiles=((1, 1),), alignments=())
        families = {}
        for name in dict.fromkeys(shapes.family):
            rows = shapes.family == name
            counts = np.stack([shapes.c_in[rows], shapes.c_out[rows]], axis=1)
            families[str(name)] = Rows(counts, latency_s[rows], shapes.tied)
        law = cls(base, families)
        _ = law._interpolants  # raises where the rows do not carry the method
        return law

    def refit(self, shapes: Shapes, latency_s: Floats) -> Self:
        return self.fit(shapes, latency_s)

    def latency_s(self, shapes: Shapes) -> Floats:
        physical = self.base.latency_s(shapes)
        result = physical.copy()
        for name in dict.fromkeys(shapes.family):
            known = self.families.get(str(name))
            if known is not None:
                rows = np.flatnonzero(shapes.family == name)
                between = self._interpolants[str(name)]
                result[rows] = self._read(known, between, shapes[rows], physical[rows])
        return result

    def _read(
        self, known: Rows, between: Interpolant | None, shapes: Shapes, physical: Floats
    ) -> Floats:
        wanted = np.stack([shapes.c_in, shapes.c_out], axis=1)
        low, high = known.counts.min(axis=0), known.counts.max(axis=0)
        inside = np.clip(wanted, low, high)
        read = np.full(len(wanted), np.nan)
        if between is not None:
            read = between(inside)
        lost = ~(read > 0)  # outside the hull of scattered rows, or a spline that dipped below zero
        if lost.any():
            scale = np.maximum(high, 1.0)
            gaps = (inside[lost, None] - known.counts[None]) / scale
            nearest = (gaps**2).sum(axis=2).argmin(axis=1)
            inside[lost] = known.counts[nearest]
            read[lost] = known.latency_s[nearest]
        return np.asarray(read * physical / self.base.latency_s(shapes.with_counts(inside)))

    def spread(self, shapes: Shapes) -> Floats:
        known = np.array([name in self.families for name in shapes.family])
        return np.where(known, 1.0, 3.0)

    def knots(self, member: Workload, axis: int, limit: int) -> Floats:
        known = self.families.get(member.family)
        measured = known.counts[:, axis] if known is not None else np.geomspace(1, limit, 16)
        inner = measured[(measured > 1) & (measured < limit)]
        return np.unique(np.concatenate([[1.0], inner, [float(limit)]]))

    @classmethod
    def _between(cls, counts: Floats, latency_s: Floats, tied: bool) -> Interpolant | None:
        """How rows of one family are read, or None where they are too few to read between."""
        from scipy.spatial import QhullError

        if tied:
            order = np.argsort(counts[:, 1])
            if len(order) < 2:
                return None
            line = cls._line(counts[order, 1], latency_s[order])
            return lambda wanted: np.asarray(line(wanted[:, 1]))
        axes = [np.unique(counts[:, axis]) for axis in (0, 1)]
        if min(map(len, axes)) >= 2 and len(axes[0]) * len(axes[1]) == len(counts):
            grid = latency_s[np.lexsort((counts[:, 1], counts[:, 0]))].reshape(*map(len, axes))
            return lambda wanted: _tensor(cls._line, axes, grid, wanted)
        try:
            return cls._scattered(counts, latency_s) if len(counts) >= 4 else None
        except QhullError:  # all rows on one line: nothing lies between them
            return None

    @staticmethod
    @abstractmethod
    def _line(x: Floats, y: Floats) -> PPoly:
        """The method in one dimension; y may be (len(x), Q) for Q lines at once."""

    @staticmethod
    @abstractmethod
    def _scattered(counts: Floats, latency_s: Floats) -> Interpolant:
        """The method over rows that form no grid."""


class LinearLaw(_Interpolated):
    """The paper's interpolation: on a grid T(x, y) = t1 + (t2 - t1)(y - d2), with t1 and t2 linear
    in x (Nasery et al., section 3.3); over scattered rows, linear on their triangulation.

    A gradient is read at every count of the table, as the paper reads it."""

    max_knots = sys.maxsize

    @staticmethod
    def _line(x: Floats, y: Floats) -> PPoly:
        from scipy.interpolate import PPoly

        return PPoly(np.stack([np.diff(y, axis=0) / _column(np.diff(x), y), y[:-1]]), x)

    @staticmethod
    def _scattered(counts: Floats, latency_s: Floats) -> Interpolant:
        from scipy.interpolate import LinearNDInterpolator

        return LinearNDInterpolator(counts, latency_s, rescale=True)


class PchipLaw(_Interpolated):
    """scipy's monotone cubic along c_in, then along c_out; it needs rows that form a grid."""

    @staticmethod
    def _line(x: Floats, y: Floats) -> PPoly:
        from scipy.interpolate import PchipInterpolator

        return PchipInterpolator(x, y, axis=0)

    @staticmethod
    def _scattered(counts: Floats, latency_s: Floats) -> Interpolant:
        raise FitError(
            f"pchip reads a grid of shapes, and {len(counts)} rows of a family form none; "
            "measure one with: latprof profile --method grid; or fit --method tile"
        )


class CubicLaw(_Interpolated):
    """scipy's cubic spline along both axes; over scattered rows, its Clough-Tocher surface."""

    @staticmethod
    def _line(x: Floats, y: Floats) -> PPoly:
        from scipy.interpolate import CubicSpline

        return CubicSpline(x, y, axis=0)

    @staticmethod
    def _scattered(counts: Floats, latency_s: Floats) -> Interpolant:
        from scipy.interpolate import CloughTocher2DInterpolator

        return CloughTocher2DInterpolator(counts, latency_s, rescale=True)


def _column(x: Floats, like: Floats) -> Floats:
    return x.reshape(-1, *([1] * (like.ndim - 1)))


def _tensor(
    line: Callable[[Floats, Floats], PPoly], axes: list[Floats], grid: Floats, wanted: Floats
) -> Floats:
    """The tensor product of a one-dimensional method: along c_in first, then along c_out."""
    along_in = line(axes[0], grid)(wanted[:, 0])  # (M, n_out): one line along c_out per query
    pieces = line(axes[1], along_in.T)  # c: (degree + 1, n_out - 1, M)
    piece = np.clip(np.searchsorted(axes[1], wanted[:, 1], side="right") - 1, 0, len(axes[1]) - 2)
    offset = wanted[:, 1] - axes[1][piece]
    return np.asarray(np.polyval(pieces.c[:, piece, np.arange(len(wanted))], offset))
