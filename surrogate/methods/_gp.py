"""Gaussian-process regression, small and closed: choose hyperparameters, condition, predict."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, cholesky, solve_triangular
from scipy.spatial.distance import cdist

from latprof.surrogate._shapes import Floats
from latprof.surrogate.methods._neighbors import Singles, krige

__all__ = ["GaussianProcess", "matern"]

#: Hyperparameters are chosen on this many rows; all rows are conditioned on.
_HYPER_ROWS = 256
#: Of more rows than this, a prediction is made from the nearest alone, and hyperparameters are
#: chosen by neighborhoods of so many.
_EXACT_ROWS, _NEIGHBORHOOD = 1000, 16
#: Shares of the likeliest noise that are tried on so many rows.
_NOISES, _SCORED_ROWS = (1.0, 0.3, 0.1, 0.03), 400
_ITERATIONS, _REFINING = 60, 6
_JITTER = 1e-9


@dataclass(frozen=True)
class GaussianProcess:
    """Zero-mean process with independent noise and the kernel

        k = a0^2 M(x; l0) + a1^2 M(x; l1) M(p; s)        M: Matern-5/2, one length per feature.

    x are smooth features (N, D). p are phase features (N, P): their effect may change with x,
    and is shared by near sizes. Of many rows, a prediction is made from the nearest alone.

    Args:
        theta: (3 + 2 D + P,) logs of a0, a1, l0, l1, s, noise.
        y: (N,) what was observed.
    """

    x: Floats
    p: Floats
    theta: Floats
    y: Floats

    @classmethod
    def fit(cls, x: Floats, p: Floats, y: Floats, *, seed: int) -> Self:
        """Maximum a posteriori hyperparameters, then condition on every row."""
        theta = cls._chosen(x, p, y, _prior(x.shape[1], p.shape[1])[0], _ITERATIONS, seed)
        return cls(x, p, theta, y)._with_best_noise(seed)

    def refit(self, x: Floats, p: Floats, y: Floats, *, seed: int = 0) -> Self:
        """Conditioned on other rows, the hyperparameters moved to where these want them: kept, they
        would know the rows that they are to be scored by."""
        theta = self._chosen(x, p, y, self.theta, _REFINING, seed)
        return type(self)(x, p, theta, y)._with_best_noise(seed)

    @classmethod
    def _chosen(
        cls, x: Floats, p: Floats, y: Floats, start: Floats, iterations: int, seed: int
    ) -> Floats:
        from scipy.optimize import Bounds, minimize  # loads slowly, and a kept fit does without

        rows = cls(x, p, start, y)._sample(np.random.default_rng(seed))
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

    def _with_best_noise(self, seed: int) -> Self:
        """Of many rows, the noise by which some of them are predicted best without themselves: a
        few jumps that no kernel follows make the likeliest noise too large for all others."""
        if len(self.y) <= _EXACT_ROWS:
            return self
        some = np.random.default_rng(seed).choice(len(self.y), _SCORED_ROWS, replace=False)
        at, errors = (self.x[some], self.p[some]), {}
        for share in _NOISES:
            mean, _ = self._kriged(*at, share**2 * float(np.exp(2 * self.theta[-1])), skipped=1)
            errors[float(np.abs(self.y[some] - mean).mean())] = share
        theta = self.theta.copy()
        theta[-1] += np.log(errors[min(errors)])
        return replace(self, theta=theta)

    def _sample(self, generator: np.random.Generator) -> NDArray[np.intp]:
        """Rows that hyperparameters are chosen by: drawn at random; of many, some neighborhoods,
        for predictions are made within such."""
        n = len(self.y)
        if n <= _HYPER_ROWS:
            return np.arange(n)
        if n <= _EXACT_ROWS:
            return generator.choice(n, _HYPER_ROWS, replace=False)
        some = generator.choice(n, _HYPER_ROWS // _NEIGHBORHOOD, replace=False)
        _, near = self._tree.query(self._tree.data[some], k=_NEIGHBORHOOD)
        return np.unique(near)

    def fantasize(self, x: Floats, p: Floats) -> Self:
        """With rows (x, p) added that hold what is predicted: the same mean, a smaller variance."""
        y = np.concatenate([self.y, self.mean(x, p)])
        rows = np.concatenate([self.x, x]), np.concatenate([self.p, p])
        return type(self)(*rows, self.theta, y)

    def mean(self, x: Floats, p: Floats) -> Floats:
        """(M,) posterior mean."""
        if len(self.y) > _EXACT_ROWS:
            return self.posterior(x, p)[0]
        return np.asarray(_kernel(x, p, self.x, self.p, self.theta) @ self._alpha)

    def sd(self, x: Floats, p: Floats) -> Floats:
        """(M,) posterior standard deviation of an observation, noise included."""
        return self.posterior(x, p)[1]

    def posterior(self, x: Floats, p: Floats) -> tuple[Floats, Floats]:
        """``mean`` and ``sd``."""
        if len(self.y) > _EXACT_ROWS:
            mean, fall = self._kriged(x, p, float(np.exp(2 * self.theta[-1])))
        else:
            known = _kernel(self.x, self.p, x, p, self.theta)
            mean = np.asarray(known.T @ self._alpha)
            fall = (solve_triangular(self._root, known, lower=True) ** 2).sum(axis=0)
        return mean, np.asarray(np.sqrt(np.maximum(self._total - fall, _JITTER)))

    def variance_reduction(self, x: Floats, p: Floats, y: Floats, q: Floats) -> Floats:
        """(C, R) fall of the posterior variance at rows (y, q), were a row (x, p) observed."""
        at_x = solve_triangular(self._root, _kernel(self.x, self.p, x, p, self.theta), lower=True)
        at_y = solve_triangular(self._root, _kernel(self.x, self.p, y, q, self.theta), lower=True)
        covariance = _kernel(x, p, y, q, self.theta) - at_x.T @ at_y
        variance = np.maximum(self._total - (at_x**2).sum(axis=0), _JITTER)
        return np.asarray(covariance**2 / variance[:, None])

    @cached_property
    def _root(self) -> Floats:
        """(N, N) lower Cholesky factor of the rows' covariance."""
        covariance = _kernel(self.x, self.p, self.x, self.p, self.theta)
        covariance[np.diag_indices_from(covariance)] += np.exp(2 * self.theta[-1]) + _JITTER
        return np.asarray(cholesky(covariance, lower=True))

    @cached_property
    def _alpha(self) -> Floats:
        """(N,) weights of the rows."""
        return np.asarray(cho_solve((self._root, True), self.y))

    @property
    def _total(self) -> float:
        """Variance of an observation of which nothing is known."""
        return float(np.exp(2 * self.theta[[0, 1, -1]]).sum())

    def _kriged(
        self, x: Floats, p: Floats, noise: float, *, skipped: int = 0
    ) -> tuple[Floats, Floats]:
        rows, at = self._rows, np.concatenate([x, p], 1)
        places = at[:, self._varying] * self._scale[self._varying]
        told = self._varying | (at != rows[0]).any(0)  # the others are alike, here and there
        kernel = partial(self._covariance, told=told)
        given = (rows[:, told], self.y, at[:, told], kernel, noise + _JITTER, skipped)
        return krige(self._tree, places, *given)

    @cached_property
    def _rows(self) -> Floats:
        """(N, D + P) all features."""
        return np.concatenate([self.x, self.p], 1)

    @cached_property
    def _varying(self) -> NDArray[np.bool_]:
        """(D + P,) the features in which rows differ."""
        return np.asarray(np.ptp(self._rows, axis=0) > 0)

    @cached_property
    def _scale(self) -> Floats:
        """(D + P,) by which rows are to be multiplied for their distance to tell how alike they
        are: from the kernel's curvature where two rows meet."""
        (smooth, phased), l0, l1, s = _split(self.theta, self.x.shape[1])
        curvature = [smooth**2 / l0**2 + phased**2 / l1**2, phased**2 / s**2]
        return np.asarray(np.sqrt(np.concatenate(curvature)))

    @cached_property
    def _tree(self) -> Any:
        from scipy.spatial import cKDTree  # loads slowly

        rows = self._rows[:, self._varying] * self._scale[self._varying]
        # many columns have few values: split at their middles, not medians
        return cKDTree(rows, balanced_tree=False, compact_nodes=False)

    def _covariance(self, rows: Singles, told: NDArray[np.bool_]) -> Singles:
        """(B, K, F) to the covariance of each K rows, (B, K, K), without noise.

        Args:
            told: (D + P,) which features the rows have.
        """
        d = self.x.shape[1]
        (smooth, phased), *lengths = (v.astype(np.float32) for v in _split(self.theta, d))
        l0, l1, s = (v[t] for v, t in zip(lengths, (told[:d], told[:d], told[d:]), strict=True))
        d = len(l0)
        covariance = phased**2 * matern(_apart(rows[..., :d] / l1))
        if len(s):
            covariance *= matern(_apart(rows[..., d:] / s))
        covariance += smooth**2 * matern(_apart(rows[..., :d] / l0))
        return np.asarray(covariance)


def _apart(rows: Singles) -> Singles:
    """(B, K, F) to squared distances (B, K, K)."""
    squares = (rows**2).sum(2)
    products = rows @ rows.transpose(0, 2, 1)
    apart = squares[:, :, None] + squares[:, None] - 2 * products
    return np.asarray(np.maximum(apart, np.float32(0)))


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


def matern(squares: Floats | Singles) -> Any:
    """Matern 5/2 at squared distances, in lengths."""
    d = np.sqrt(5 * squares)
    return (1 + d + d * d / 3) * np.exp(-d)


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
