"""The ``blend`` method: the tile law and the Gaussian process, averaged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from latprof.surrogate._shapes import Floats, Shapes
from latprof.surrogate.methods._law import Law
from latprof.surrogate.methods._physics_gp import PhysicsGPLaw
from latprof.surrogate.methods._tile import TileLaw
from latprof.workloads import Workload

__all__ = ["BlendLaw", "averaged"]


@dataclass(frozen=True)
class BlendLaw(Law):
    """The geometric mean of two laws: where they err for different reasons, it errs by less.

    Args:
        parts: the laws, each fitted to the same rows.
    """

    parts: tuple[Law, ...]

    @classmethod
    def fit(cls, shapes: Shapes, latency_s: Floats, *, seed: int = 0) -> Self:
        tile = TileLaw.fit(shapes, latency_s, seed=seed)
        return cls((tile, PhysicsGPLaw.fit(shapes, latency_s, seed=seed, known=tile.base)))

    def refit(self, shapes: Shapes, latency_s: Floats) -> Self:
        return type(self)(tuple(law.refit(shapes, latency_s) for law in self.parts))

    def latency_s(self, shapes: Shapes) -> Floats:
        return averaged([law.latency_s(shapes) for law in self.parts])

    def spread(self, shapes: Shapes) -> Floats:
        return averaged([law.spread(shapes) for law in self.parts])

    def with_spread(self, shapes: Shapes) -> tuple[Floats, Floats]:
        latencies, spreads = zip(*(law.with_spread(shapes) for law in self.parts), strict=True)
        return averaged(list(latencies)), averaged(list(spreads))

    def knots(self, member: Workload, axis: int, limit: int) -> Floats:
        """Of the first part, whose steps are the sharper."""
        return self.parts[0].knots(member, axis, limit)


def averaged(columns: list[Floats]) -> Floats:
    """(N,) the geometric mean of columns (N,)."""
    return np.asarray(np.exp(np.mean(np.log(columns), axis=0)))
