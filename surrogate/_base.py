"""The physical base: tile-quantised arithmetic, bytes and a constant, all non-negative."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product
from typing import Self

import numpy as np
from scipy.optimize import nnls

from latprof.surrogate._shapes import Floats, Shapes

__all__ = ["TILES", "PhysicalBase"]

#: Tile widths looked for along each channel axis.
TILES = (1, 4, 8, 16, 32, 64, 128)

_PAIRS = tuple(product(TILES, TILES))

#: Tiles are searched for on about this many rows; the weights are of all.
_SEARCH_ROWS = 400

#: Depthwise kernels work on vectors of channels; where the count is no multiple of these they may
#: take another path altogether (ONNX Runtime's is ten times slower off multiples of 4).
_VECTORS = (4, 8)

#: A tile must lower the misfit by this part to be believed.
_GAIN = 0.02


@dataclass(frozen=True)
class PhysicalBase:
    """Seconds as a non-negative sum of arithmetic in whole tiles, traffic and a constant.

    Args:
        tiles: (along c_in, along c_out); 1 where no step was found.
        weights: (10,) seconds per unit of each term of ``_terms``; never negative, so the base
            rises with every count, ragged depthwise counts aside.
    """

    tiles: tuple[int, int]
    weights: Floats

    @classmethod
    def fit(
        cls, shapes: Shapes, latency_s: Floats, tiles: Iterable[tuple[int, int]] = _PAIRS
    ) -> Self:
        """Least squares of the relative error, over pairs of tiles too."""
        best, chosen = np.inf, (1, 1)
        every = max(len(shapes) // _SEARCH_ROWS, 1)
        some, some_s = shapes[::every], latency_s[::every]
        limits = shapes.c_in.max(), shapes.c_out.max()
        for candidate in tiles:
            if any(t > 1 and t > limit for t, limit in zip(candidate, limits, strict=True)):
                continue
            if shapes.tied and candidate[0] != 1:
                continue
            _, misfit = _solve(some, some_s, candidate)
            penalised = misfit * (1 + _GAIN * sum(t > 1 for t in candidate))
            if penalised < best:
                best, chosen = penalised, candidate
        return cls(chosen, _solve(shapes, latency_s, chosen)[0])

    def refit(self, shapes: Shapes, latency_s: Floats) -> Self:
        """The same tiles with weights from other rows."""
        return type(self)(self.tiles, _solve(shapes, latency_s, self.tiles)[0])

    def latency_s(self, shapes: Shapes) -> Floats:
        return np.asarray(_terms(shapes, self.tiles) @ self.weights)


def _terms(shapes: Shapes, tiles: tuple[int, int]) -> Floats:
    """(N, 10) arithmetic, second operand, activations, positions, channels, one, and the depthwise
    arithmetic of counts that do not fill vectors."""
    k, n = (np.ceil(c / t) * t for c, t in zip((shapes.c_in, shapes.c_out), tiles, strict=True))
    per_group = n if shapes.tied else shapes.groups  # one channel per group, in whole tiles
    return np.stack(
        [
            shapes.m_out * k * n * shapes.depth / per_group,
            k * n * shapes.weights / per_group,
            shapes.m_in * k * shapes.read,
            shapes.m_out * n,
            shapes.m_out,
            k,
            n,
            np.ones(len(k)),
            *(
                shapes.m_out
                * n
                * shapes.depth
                * (shapes.tied & (shapes.weights > 0) & (shapes.c_out % v > 0))
                for v in _VECTORS
            ),
        ],
        axis=1,
    )


def _solve(shapes: Shapes, latency_s: Floats, tiles: tuple[int, int]) -> tuple[Floats, float]:
    """(weights, root mean square of the relative error)."""
    relative = _terms(shapes, tiles) / latency_s[:, None]
    size = np.sqrt((relative**2).mean(axis=0))
    used = size > 0
    weights = np.zeros(len(size))
    weights[used], misfit = nnls(relative[:, used] / size[used], np.ones(len(latency_s)))
    weights[used] /= size[used]
    return weights, float(misfit / np.sqrt(len(latency_s)))
