"""The base of one processor: tile-quantized arithmetic, bytes, a constant, all non-negative."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product
from typing import Self

import numpy as np
from numpy.typing import NDArray

from latprof.surrogate._shapes import Floats, Shapes

__all__ = ["TILES", "PhysicalBase", "Tiled"]

#: Tile widths looked for along each channel axis.
TILES = (1, 4, 8, 16, 32, 64, 128)

_PAIRS = tuple(product(TILES, TILES))

#: Alignments on which a runtime may choose between two implementations of an op: ONNX Runtime's
#: blocked convolutions take multiples of 4 input channels, its fast depthwise ones multiples of 4.
_ALIGNMENTS = (4, 8, 16)

#: Tiles are searched for on about this many rows; the weights are of all.
_SEARCH_ROWS = 400

#: A tile is taken where it lowers the misfit by this part.
_MIN_IMPROVEMENT = 0.02

#: Fewer rows than this show no tiles.
_ROWS_FOR_TILES = 12

#: Two regimes are looked for where one law errs by more than this, and are taken where they lower
#: that to this share, with so many rows each: where they differ less the residual tells them apart
#: better, since it shares what they have in common.
_MAX_ERROR_OF_ONE, _MAX_SHARE_OF_TWO, _ROWS_PER_REGIME = 0.10, 1 / 2, 5


@dataclass(frozen=True)
class Tiled:
    """Args:
    tiles: (along c_in, along c_out); 1 where no step was found.
    weights: (10,) seconds per unit of each term of ``_terms``, never negative.
    """

    tiles: tuple[int, int]
    weights: Floats

    @classmethod
    def fit(cls, shapes: Shapes, latency_s: Floats, tiles: Iterable[tuple[int, int]]) -> Self:
        """Least squares of the relative error, over pairs of tiles too."""
        every = max(len(shapes) // _SEARCH_ROWS, 1)
        some, some_s = shapes[::every], latency_s[::every]
        limits = (1 if shapes.tied else shapes.c_in.max(), shapes.c_out.max())
        best, chosen = np.inf, (1, 1)
        for candidate in tiles if len(shapes) >= _ROWS_FOR_TILES else [(1, 1)]:
            if any(t > 1 and t > limit for t, limit in zip(candidate, limits, strict=True)):
                continue
            penalty = 1 + _MIN_IMPROVEMENT * sum(t > 1 for t in candidate)
            misfit = _misfit(some, some_s, candidate, _solve(some, some_s, candidate))
            if penalty * misfit < best:
                best, chosen = penalty * misfit, candidate
        return cls(chosen, _solve(shapes, latency_s, chosen))


@dataclass(frozen=True)
class PhysicalBase:
    """Seconds as a non-negative sum of arithmetic in whole tiles, traffic and a constant; where
    the rows show two regimes, one such sum for counts that are aligned and one for the others.

    Args:
        alignment: (axis, period): multiples of the period along c_in (0) or c_out (1) are
            aligned; period 1 where there is one regime.
    """

    alignment: tuple[int, int]
    aligned: Tiled
    unaligned: Tiled

    @classmethod
    def fit(
        cls,
        shapes: Shapes,
        latency_s: Floats,
        tiles: Iterable[tuple[int, int]] = _PAIRS,
        alignments: Iterable[int] = _ALIGNMENTS,
    ) -> Self:
        """Find the alignment with tiles of c_out alone; then the tiles."""
        rough = [(1, t) for t in TILES]
        whole = np.ones(len(shapes), dtype=bool)
        alone = _joint_misfit(shapes, latency_s, [whole], rough)
        best, chosen = _MAX_SHARE_OF_TWO * alone, (1, 1)
        for candidate in product((1,) if shapes.tied else (0, 1), alignments):
            inside = _aligned(shapes, candidate)
            if alone > _MAX_ERROR_OF_ONE and min(inside.sum(), (~inside).sum()) >= _ROWS_PER_REGIME:
                misfit = _joint_misfit(shapes, latency_s, [inside, ~inside], rough)
                if misfit < best:
                    best, chosen = misfit, candidate
        inside = _aligned(shapes, chosen)
        pairs = tuple(tiles)
        aligned = Tiled.fit(shapes[inside], latency_s[inside], pairs)
        if inside.all():
            return cls(chosen, aligned, aligned)
        return cls(chosen, aligned, Tiled.fit(shapes[~inside], latency_s[~inside], pairs))

    def refit(self, shapes: Shapes, latency_s: Floats) -> Self:
        """The same alignment and tiles with weights from other rows; a regime that has no rows
        among them stays."""
        inside = _aligned(shapes, self.alignment)
        parts = []
        for part, rows in ((self.aligned, inside), (self.unaligned, ~inside)):
            weights = _solve(shapes[rows], latency_s[rows], part.tiles) if rows.any() else None
            parts.append(part if weights is None else Tiled(part.tiles, weights))
        return type(self)(self.alignment, *parts)

    def latency_s(self, shapes: Shapes) -> Floats:
        inside = self.regime(shapes)
        parts = [
            _terms(shapes, part.tiles) @ part.weights for part in (self.aligned, self.unaligned)
        ]
        return np.where(inside, *parts)

    def log_residual(self, shapes: Shapes, latency_s: Floats) -> Floats:
        """(N,) logs of measured over the base's: what is left to a residual."""
        return np.asarray(np.log(latency_s / self.latency_s(shapes)))

    def regime(self, shapes: Shapes) -> NDArray[np.bool_]:
        """(N,) which ops are aligned."""
        return _aligned(shapes, self.alignment)


def _aligned(shapes: Shapes, alignment: tuple[int, int]) -> NDArray[np.bool_]:
    axis, period = alignment
    return np.asarray((shapes.c_in, shapes.c_out)[axis] % period == 0)


def _joint_misfit(
    shapes: Shapes,
    latency_s: Floats,
    parts: list[NDArray[np.bool_]],
    tiles: list[tuple[int, int]],
) -> float:
    """Root mean square of the relative error where each part has a law of its own."""
    squares = 0.0
    for rows in parts:
        part = Tiled.fit(shapes[rows], latency_s[rows], tiles)
        misfit = _misfit(shapes[rows], latency_s[rows], part.tiles, part.weights)
        squares += rows.sum() * misfit**2
    return float(np.sqrt(squares / len(shapes)))


def _terms(shapes: Shapes, tiles: tuple[int, int]) -> Floats:
    """(N, 10) arithmetic, second operand, activations, positions, channels, one; and what some
    runtimes leave out: arithmetic on padding, and operands that meet nothing but padding."""
    k, n = (np.ceil(c / t) * t for c, t in zip((shapes.c_in, shapes.c_out), tiles, strict=True))
    per_group = n if shapes.tied else shapes.groups  # one channel per group, in whole tiles
    arithmetic = shapes.m_out * k * n * shapes.depth / per_group
    operand = k * n * shapes.weights / per_group
    return np.stack(
        [
            arithmetic * shapes.inside,
            operand * shapes.met,
            shapes.m_in * k * shapes.read,
            shapes.m_out * n,
            shapes.m_out,
            k,
            n,
            np.ones(len(k)),
            arithmetic * (1 - shapes.inside),
            operand * (1 - shapes.met),
        ],
        axis=1,
    )


def _solve(shapes: Shapes, latency_s: Floats, tiles: tuple[int, int]) -> Floats:
    """(10,) weights of the least relative error."""
    from scipy.optimize import nnls  # loads slowly, and a kept fit does without

    relative = _terms(shapes, tiles) / latency_s[:, None]
    size = np.sqrt((relative**2).mean(axis=0))
    used = size > 0
    weights = np.zeros(len(size))
    solved, _ = nnls(relative[:, used] / size[used], np.ones(len(latency_s)))
    weights[used] = solved / size[used]
    return weights


def _misfit(shapes: Shapes, latency_s: Floats, tiles: tuple[int, int], weights: Floats) -> float:
    """Root mean square of the relative error."""
    errors = _terms(shapes, tiles) @ weights / latency_s - 1
    return float(np.sqrt((errors**2).mean()))
