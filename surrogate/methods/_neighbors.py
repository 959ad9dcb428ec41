"""A Gaussian process of many rows, each prediction from the nearest of them alone.

Nearest-neighbor kriging (Vecchia; Datta et al., arXiv:1406.7343): what is far hardly counts where
much is near, and the cost no longer grows with the cube of the rows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latprof.surrogate._shapes import Floats

__all__ = ["Singles", "krige"]

#: In single precision, which is twice as fast and enough for differences of near rows.
Singles = NDArray[np.float32]

#: Rows that a prediction is made from, and predictions that are made at once.
_NEAREST, _AT_ONCE = 12, 1024
#: The search may return rows farther than the nearest by this share, which makes it several times
#: as fast in many dimensions.
_FARTHER = 0.2


def krige(
    tree: Any,
    places: Floats,
    rows: Floats,
    y: Floats,
    at: Floats,
    kernel: Callable[[Singles], Singles],
    noise: float,
    skipped: int = 0,
) -> tuple[Floats, Floats]:
    """Posterior mean (M,), and by how much the variance falls (M,), from the nearest rows of each.

    Args:
        tree: of the known rows, where near means alike.
        places: (M, T) in it of what is predicted.
        rows: (N, F) known.
        y: (N,) what is known of them.
        at: (M, F) of what is predicted.
        kernel: (B, K, F) to the covariance of each K rows, (B, K, K), without noise.
        noise: variance of an observation.
        skipped: of the nearest, so many are not read: 1 where what is predicted is a known row.
    """
    mean, fall = np.empty(len(at)), np.empty(len(at))
    middle = rows.mean(0)
    centered, asked = ((x - middle).astype(np.float32) for x in (rows, at))
    own = range(_NEAREST)
    for start in range(0, len(at), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        _, near = tree.query(places[part], k=_NEAREST + skipped, eps=_FARTHER)
        near = near[:, skipped:]  # (B, K)
        stacked = np.concatenate([centered[near], asked[part, None]], axis=1)  # (B, K + 1, F)
        covariance = kernel(stacked)
        known, shared = covariance[:, :-1, :-1], covariance[:, :-1, -1:]
        known[:, own, own] += noise
        weights = np.linalg.solve(known, shared)  # (B, K, 1)
        mean[part] = (weights[..., 0] * y[near]).sum(1)
        fall[part] = (weights * shared).sum((1, 2))
    return mean, fall
