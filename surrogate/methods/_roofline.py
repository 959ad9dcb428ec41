"""The law of last resort: arithmetic, bytes and a constant, over every label of the table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from scipy.optimize import nnls

from latprof.surrogate._shapes import Floats, Shapes
from latprof.surrogate.methods._law import Law
from latprof.workloads import Workload

__all__ = ["RooflineLaw"]


#: A middling core's seconds per MAC, byte of weights, byte of activations, and call. Only their
#: proportions matter, and only where the table's rows leave something open.
_TYPICAL = np.array([2e-11, 1e-10, 1e-10, 1e-6])
_RIDGE = 0.3


@dataclass(frozen=True)
class RooflineLaw(Law):
    """Seconds per MAC, per byte and per call, non-negative, alike for all ops. It answers for
    labels with few rows (scaled to them) or none, and is the plain baseline of the others.

    Args:
        weights: (4,) seconds per MAC, per byte of weights, per byte of activations, per call.
        scale: of the label it was refitted to.
    """

    weights: Floats
    scale: float = 1.0

    @classmethod
    def fit(cls, shapes: Shapes, latency_s: Floats, *, seed: int = 0) -> Self:
        relative = _terms(shapes) / latency_s[:, None]
        prior = _TYPICAL / np.median(relative @ _TYPICAL)  # a device as fast as this one
        # In units of the prior, and drawn to it with the weight of a tenth of a row.
        a = np.concatenate([relative * prior, np.eye(len(prior)) * _RIDGE])
        b = np.concatenate([np.ones(len(latency_s)), np.full(len(prior), _RIDGE)])
        weights, _ = nnls(a, b)
        return cls(weights * prior)

    def refit(self, shapes: Shapes, latency_s: Floats) -> Self:
        """The same weights, scaled to these rows' geometric mean."""
        ratio = np.log(latency_s / (_terms(shapes) @ self.weights))
        return type(self)(self.weights, float(np.exp(ratio.mean())))

    def latency_s(self, shapes: Shapes) -> Floats:
        return np.asarray(self.scale * (_terms(shapes) @ self.weights))

    @property
    def call_s(self) -> float:
        """Seconds that every op takes, whatever its size."""
        return float(self.scale * self.weights[-1])

    def spread(self, shapes: Shapes) -> Floats:
        return np.ones(len(shapes))

    def knots(self, member: Workload, axis: int, limit: int) -> Floats:
        return np.unique([1.0, float(limit)])  # linear in either count


def _terms(shapes: Shapes) -> Floats:
    """(N, 4)"""
    traffic = shapes.activation_bytes
    return np.stack([shapes.macs, shapes.weight_bytes, traffic, np.ones(len(shapes))], axis=1)
