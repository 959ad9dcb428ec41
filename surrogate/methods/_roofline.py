"""For kinds of op with few rows or none: arithmetic, bytes and a call, as all ops have them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from latprof.surrogate._shapes import Floats, Shapes
from latprof.surrogate.methods._law import Law
from latprof.workloads import Workload

__all__ = ["RooflineLaw"]


#: A middling core's seconds per MAC, byte of weights, byte of activations, and call. Only their
#: proportions matter, and only where the table's rows leave something open.
_TYPICAL = np.array([2e-11, 1e-10, 1e-10, 1e-6])
_RIDGE = 0.3

#: No weight is less than this part of what is typical: of a kind of op that the table says little
#: of, any of the four may be what counts.
_LEAST = 0.02

#: Deviations of the log of one kind of op's weights from the whole table's: of arithmetic and bytes
#: together, of each of them, and of a call. Kinds that were left out of tables measured here were
#: off by up to 15 times.
_WORK, _EACH, _CALL = 1.3, 0.8, 1.0

#: How far a row lies off the weighted sum for reasons of its own: tiles, and code for some counts.
_ROW = 0.1

#: Weights that are tried for a kind of op, and those of them that are kept.
_TRIED, _KEPT = 4096, 256

_COVARIANCE = np.diag([_EACH**2] * 3 + [_CALL**2])
_COVARIANCE[:3, :3] += _WORK**2
_WHITEN = np.linalg.inv(np.linalg.cholesky(_COVARIANCE))


@dataclass(frozen=True)
class RooflineLaw(Law):
    """Seconds per MAC, per byte and per call. ``fit`` finds what all ops of a table have in common;
    ``refit`` moves that to the few rows of one kind of op, each row moving most the weight that it
    mostly consists of. What no row tells stays as unsure as before.

    Args:
        weights: (4,) seconds per MAC, per byte of weights, per byte of activations, per call.
        draws: (D, 4) weights that the rows leave possible, each as likely as the others.
    """

    weights: Floats
    draws: Floats

    @classmethod
    def fit(cls, shapes: Shapes, latency_s: Floats, *, seed: int = 0) -> Self:
        from scipy.optimize import nnls  # loads slowly, and a kept fit does without

        relative = _terms(shapes) / latency_s[:, None]
        prior = _TYPICAL / np.median(relative @ _TYPICAL)  # a device as fast as this one
        # In units of the prior, and drawn to it with the weight of a tenth of a row.
        a = np.concatenate([relative * prior, np.eye(len(prior)) * _RIDGE])
        b = np.concatenate([np.ones(len(latency_s)), np.full(len(prior), _RIDGE)])
        weights, _ = nnls(a, b)
        weights = np.maximum(weights, _LEAST) * prior
        drawn = np.random.default_rng(seed).multivariate_normal(np.zeros(4), _COVARIANCE, _KEPT)
        return cls(weights, weights * np.exp(drawn))

    def refit(self, shapes: Shapes, latency_s: Floats) -> Self:
        """The likeliest weights given these rows, with this law's weights as the prior; and draws
        of weights that are possible, by importance sampling around the likeliest and the prior."""
        from scipy.optimize import least_squares
        from scipy.special import logsumexp

        terms = _terms(shapes)

        def misfits(offsets: Floats) -> Floats:
            """(..., N + 4) in standard deviations, of logs of weights over the prior's (..., 4)."""
            predicted_s = (self.weights * np.exp(offsets)) @ terms.T
            errors = np.log(predicted_s / latency_s) / _ROW
            return np.concatenate([errors, offsets @ _WHITEN.T], axis=-1)

        best = least_squares(misfits, np.zeros(4)).x
        parts = terms * self.weights * np.exp(best)
        shares = parts / parts.sum(axis=1, keepdims=True)
        near = np.linalg.inv(np.linalg.inv(_COVARIANCE) + shares.T @ shares / _ROW**2)
        rng, around = np.random.default_rng(0), (4 * near, _COVARIANCE)
        moves = np.concatenate(
            [rng.multivariate_normal(np.zeros(4), c, _TRIED // 2) for c in around]
        )
        tried = best + moves
        log_weight = -0.5 * (misfits(tried) ** 2).sum(axis=1)
        log_weight -= logsumexp([_log_density(moves, c) for c in around], axis=0)
        upto = np.cumsum(np.exp(log_weight - logsumexp(log_weight)))
        kept = np.searchsorted(upto, (np.arange(_KEPT) + 0.5) / _KEPT)
        offsets = tried[np.minimum(kept, len(tried) - 1)]
        return type(self)(self.weights * np.exp(best), self.weights * np.exp(offsets))

    def latency_s(self, shapes: Shapes) -> Floats:
        return np.asarray(_terms(shapes) @ self.weights)

    @property
    def call_s(self) -> float:
        """Seconds that every op takes, whatever its size."""
        return float(self.weights[-1])

    def spread(self, shapes: Shapes) -> Floats:
        """Standard deviation of the log latency from what ``latency_s`` says."""
        terms = _terms(shapes)
        errors = np.log((terms @ self.draws.T) / (terms @ self.weights)[:, None])  # (N, D)
        return np.asarray(np.sqrt((errors**2).mean(axis=1) + _ROW**2))

    def knots(self, member: Workload, axis: int, limit: int) -> Floats:
        return np.unique([1.0, float(limit)])  # linear in either count


def _terms(shapes: Shapes) -> Floats:
    """(N, 4)"""
    traffic = shapes.activation_bytes
    return np.stack([shapes.macs, shapes.weight_bytes, traffic, np.ones(len(shapes))], axis=1)


def _log_density(moves: Floats, covariance: Floats) -> Floats:
    """(N,) of the normal distribution around 0, but for a constant; moves are (N, 4)."""
    root = np.linalg.cholesky(covariance)
    whitened = np.linalg.solve(root, moves.T)
    return np.asarray(-0.5 * (whitened**2).sum(axis=0) - np.log(np.diag(root)).sum())
