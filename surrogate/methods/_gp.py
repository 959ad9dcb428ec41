"""Gaussian-process regression, small and closed: choose hyperparameters, condition, predict."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
from scipy.linalg import cho_solve, cholesky, solve_triangular
from scipy.spatial.distance import cdist

from latprof.surrogate._shapes import Floats

__all__ = ["GaussianProcess", "matern"]

#: Hyperparameters are chosen on this many rows; all rows are conditioned on.
_HYPER_ROWS = 256
_ITERATIONS, _REFINING = 60, 6
_JITTER = 1e-9


@dataclass(frozen=True)
class GaussianProcess:
    """Zero-mean process with independent noise and the kernel

        k = a0^2 M(x; l0) + a1^2 M(x; l1) M(p; s)        M: Matern-5/2, one length per feature.

    x are smooth features (N, D). p are phase features (N, P): their effect may change with x,
    and is shared by near sizes.

    Args:
        theta: (3 + 2 D + P,) logs of a0, a1, l0, l1, s, noise.
        alpha: (N,) weights of the training rows.
        root: (N, N) lower Cholesky factor of the training covariance.
    """

    #: What follows from the rest, and is not kept.
    DERIVED: ClassVar = ("root",)

    x: Floats
    p: Floats
    theta: Floats
    alpha: Floats
    root: Floats

    @classmethod
    def restored(cls, x: Floats, p: Floats, theta: Floats, alpha: Floats) -> Self:
        """From what is kept of it."""
        return cls(x, p, theta, alpha, _root(x, p, theta))

    @classmethod
    def fit(cls, x: Floats, p: Floats, y: Floats, *, seed: int) -> Self:
        """Maximum a posteriori hyperparameters, then condition on every row."""
        theta = cls._chosen(x, p, y, _prior(x.shape[1], p.shape[1])[0], _ITERATIONS, seed)
        return cls.conditioned(x, p, y, theta)

    def refit(self, x: Floats, p: Floats, y: Floats, *, seed: int = 0) -> Self:
        """Conditioned on other rows, the hyperparameters moved to where these want them: kept, they
        would know the rows that they are to be scored by."""
        return self.conditioned(x, p, y, self._chosen(x, p, y, self.theta, _REFINING, seed))

    @classmethod
    def _chosen(
        cls, x: Floats, p: Floats, y: Floats, start: Floats, iterations: int, seed: int
    ) -> Floats:
        from scipy.optimize import Bounds, minimize  # loads slowly, and a kept fit does without

        rows = np.arange(len(y))
        if len(y) > _HYPER_ROWS:
            rows = np.random.default_rng(seed).choice(len(y), _HYPER_ROWS, replace=False)
        mean, sd = _prior(x.shape[1], p.shape[1])
        result = minimize(
            _negative_log_posterior,
            start,
            args=(_squares(x[rows]), _squares(p[rows]), y[rows], mean, sd),
            jac=True,
            method="L-BFGS-B",
            bounds=Bounds(mean - 4 * sd, mean + 4 * sd),
            options={"maxiter": iterations},
        )
        return np.asarray(result.x)

    @classmethod
    def conditioned(cls, x: Floats, p: Floats, y: Floats, theta: Floats) -> Self:
        """On rows (x, p) of residuals y, at hyperparameters ``theta``."""
        root = _root(x, p, theta)
        return cls(x, p, theta, cho_solve((root, True), y), root)

    def fantasize(self, x: Floats, p: Floats) -> Self:
        """With rows (x, p) added that hold what is predicted: the same mean, a smaller variance."""
        known = _kernel(self.x, self.p, x, p, self.theta)
        side = solve_triangular(self.root, known, lower=True)
        corner = _kernel(x, p, x, p, self.theta) - side.T @ side
        corner[np.diag_indices_from(corner)] += np.exp(2 * self.theta[-1]) + _JITTER
        n, more = known.shape
        root = np.zeros((n + more, n + more))
        root[:n, :n], root[n:, :n], root[n:, n:] = self.root, side.T, cholesky(corner, lower=True)
        alpha = np.concatenate([self.alpha, np.zeros(more)])
        stack = (np.concatenate([self.x, x]), np.concatenate([self.p, p]))
        return type(self)(*stack, self.theta, alpha, root)

    def mean(self, x: Floats, p: Floats) -> Floats:
        """(M,) posterior mean."""
        return np.asarray(_kernel(x, p, self.x, self.p, self.theta) @ self.alpha)

    def sd(self, x: Floats, p: Floats) -> Floats:
        """(M,) posterior standard deviation of an observation, noise included."""
        explained = solve_triangular(
            self.root, _kernel(self.x, self.p, x, p, self.theta), lower=True
        )
        total = np.exp(2 * self.theta[[0, 1, -1]]).sum()
        return np.asarray(np.sqrt(np.maximum(total - (explained**2).sum(axis=0), _JITTER)))

    def variance_reduction(self, x: Floats, p: Floats, y: Floats, q: Floats) -> Floats:
        """(C, R) fall of the posterior variance at rows (y, q), were a row (x, p) observed."""
        at_x = solve_triangular(self.root, _kernel(self.x, self.p, x, p, self.theta), lower=True)
        at_y = solve_triangular(self.root, _kernel(self.x, self.p, y, q, self.theta), lower=True)
        covariance = _kernel(x, p, y, q, self.theta) - at_x.T @ at_y
        total = np.exp(2 * self.theta[[0, 1, -1]]).sum()
        variance = np.maximum(total - (at_x**2).sum(axis=0), _JITTER)
        return np.asarray(covariance**2 / variance[:, None])


def _root(x: Floats, p: Floats, theta: Floats) -> Floats:
    """(N, N) lower Cholesky factor of the covariance of these rows."""
    covariance = _kernel(x, p, x, p, theta)
    covariance[np.diag_indices_from(covariance)] += np.exp(2 * theta[-1]) + _JITTER
    return np.asarray(cholesky(covariance, lower=True))


def _split(theta: Floats, d: int) -> tuple[Floats, Floats, Floats, Floats]:
    """(amplitudes (2,), l0 (D,), l1 (D,), s (P,)) out of their logs."""
    parts = np.exp(theta)
    return parts[:2], parts[2 : 2 + d], parts[2 + d : 2 + 2 * d], parts[2 + 2 * d : -1]


def _kernel(x: Floats, p: Floats, y: Floats, q: Floats, theta: Floats) -> Floats:
    """(N, M) covariance without noise, of rows (x, p) with rows (y, q)."""
    amplitude, l0, l1, s = _split(theta, x.shape[1])
    smooth = amplitude[0] ** 2 * matern(cdist(x / l0, y / l0, "sqeuclidean"))
    phased = amplitude[1] ** 2 * matern(cdist(x / l1, y / l1, "sqeuclidean"))
    if p.shape[1]:
        phased *= matern(cdist(p / s, q / s, "sqeuclidean"))
    return np.asarray(smooth + phased)


def matern(squares: Floats) -> Floats:
    """Matern 5/2 at squared distances, in lengths."""
    d = np.sqrt(5 * squares)
    return np.asarray((1 + d + d * d / 3) * np.exp(-d))


def _squares(x: Floats) -> Floats:
    """(D, N, N) squared differences per feature."""
    return np.asarray((x.T[:, :, None] - x.T[:, None, :]) ** 2)


def _prior(d: int, p: int) -> tuple[Floats, Floats]:
    """Mean and deviation of theta: residuals of some percent, lengths of about one e-fold."""
    mean = np.concatenate(
        [np.log([0.1, 0.05]), np.full(2 * d, 0.5), np.full(p, 1.0), [np.log(0.02)]]
    )
    sd = np.concatenate([np.ones(2 + 2 * d + p), [0.7]])
    return mean, sd


def _negative_log_posterior(
    theta: Floats, xs: Floats, ps: Floats, y: Floats, mean: Floats, sd: Floats
) -> tuple[float, Floats]:
    """Value and gradient; xs (D, N, N) and ps (P, N, N) are squared differences."""
    d, n = len(xs), len(y)
    amplitude, l0, l1, s = _split(theta, d)
    m0, slope0 = _matern_and_slope(np.tensordot(l0**-2, xs, 1))
    m1, slope1 = _matern_and_slope(np.tensordot(l1**-2, xs, 1))
    mp, slope_p = (
        _matern_and_slope(np.tensordot(s**-2, ps, 1)) if len(ps) else (np.ones((n, n)), m0)
    )
    k0, k1 = amplitude[0] ** 2 * m0, amplitude[1] ** 2 * m1 * mp
    noise = np.exp(2 * theta[-1])
    covariance = k0 + k1
    covariance[np.diag_indices(n)] += noise + _JITTER
    root = cholesky(covariance, lower=True)
    inverse = cho_solve((root, True), np.eye(n))
    alpha = inverse @ y
    by_covariance = 0.5 * (inverse - np.outer(alpha, alpha))  # d value / d covariance
    offset = (theta - mean) / sd
    value = 0.5 * y @ alpha + np.log(np.diag(root)).sum() + 0.5 * offset @ offset
    gradient = np.concatenate(
        [
            [2 * np.vdot(by_covariance, k0), 2 * np.vdot(by_covariance, k1)],
            _per_length(by_covariance * amplitude[0] ** 2 * slope0, xs, l0),
            _per_length(by_covariance * amplitude[1] ** 2 * slope1 * mp, xs, l1),
            _per_length(by_covariance * amplitude[1] ** 2 * m1 * slope_p, ps, s),
            [2 * noise * np.trace(by_covariance)],
        ]
    )
    return float(value), gradient + offset / sd


def _matern_and_slope(squares: Floats) -> tuple[Floats, Floats]:
    """M, and -2 dM/d(squares): what a squared difference over l^2 adds to dM/d(log l)."""
    d = np.sqrt(5 * squares)
    decay = np.exp(-d)
    return (1 + d + d * d / 3) * decay, 5 / 3 * (1 + d) * decay


def _per_length(weight: Floats, squares: Floats, length: Floats) -> Floats:
    """Gradient by log length: sum over pairs of weight x squared difference / length^2."""
    return np.asarray(np.tensordot(squares, weight, 2) / length**2) if len(squares) else length
