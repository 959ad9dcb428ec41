"""The search of Condensa: a level set first, the objective below it then."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from latprof.pipeline.search.samplers._observed import Observed
from latprof.pipeline.search.samplers._own import OwnSampler
from latprof.vocabulary import require

__all__ = ["DrUcb"]

#: Share of the samples that the level set is searched with.
_LEVEL_SHARE = 2 / 3
#: Standard deviations that a bound of the objective is away from its mean.
_BOUND = 2.0
#: Samples that are taken side by side are this far apart, where there is room.
_APART = 0.05
_GRID = 1001

Floats = npt.NDArray[np.float64]


class DrUcb(OwnSampler):
    """Domain-restricted upper confidence bounds (Joseph et al., *A Programmable Approach to Neural
    Network Compression*, eq. 1 and algorithm 1), then bounds of the objective above that depth.

    A Gaussian process is fitted to the metric. The next sample is where
    (1 - gamma) * sigma(s) - gamma * |mu(s) - L| is largest, L being the floor, among all that is
    deeper than what passed. The last third of the samples optimizes the objective between the
    original and the deepest that passed, by a lower bound of it, or an upper one.

    Where the paper contradicts itself, this is done:

    - Equation 1 asks that the accuracy at s_t is at least L before it is sampled; algorithm 1 tests
      it afterwards, and so does this.
    - Equation 1 has s_t larger than all samples before; line 7 of algorithm 1 compares with the
      last one alone, so that a sample that passes after a deeper one failed would never restrict
      the domain. Here the domain begins at the deepest that passed.
    - Algorithm 1 returns the last sample, whether it passed or not; here the deepest that passed.
    - It begins with a process without data; here it knows the original, which costs nothing.
    - gamma, the kernel, and how many samples each stage has are not given.

    Args:
        samples: of the whole search.
        gamma: what nearness to the floor counts, against uncertainty.

    Example:
        >>> import optuna
        >>> optuna.create_study(sampler=DrUcb(samples=6))  # doctest: +SKIP
    """

    def __init__(self, samples: int, gamma: float = 0.8) -> None:
        self._level_samples = max(1, round(_LEVEL_SHARE * samples))
        self._gamma = gamma

    def next(
        self, points: list[Observed], busy: list[float], number: int, *, maximized: bool
    ) -> float:
        passed = max((p.progress for p in points if p.margin >= 0), default=0.0)
        if number < self._level_samples or passed == 0.0:
            grid = np.linspace(passed, 1.0, _GRID)[1:]
            mean, deviation = _process(points, [p.margin for p in points], busy, grid)
            score = (1 - self._gamma) * deviation - self._gamma * np.abs(mean)
        else:
            grid = np.linspace(0.0, passed, _GRID)[1:]
            values = [p.objective if maximized else -p.objective for p in points]
            mean, deviation = _process(points, values, busy, grid)
            score = mean + _BOUND * deviation
        for other in busy:
            score = np.where(np.abs(grid - other) < _APART, score - np.ptp(score) - 1.0, score)
        return float(grid[int(score.argmax())])


def _process(
    points: Sequence[Observed], values: Sequence[float], busy: Sequence[float], grid: Floats
) -> tuple[Floats, Floats]:
    """Mean and standard deviation (N,) along the grid (N,) of a Gaussian process through the
    values; where others sample, it is taken to find the mean."""
    regressors: Any = require("sklearn.gaussian_process", extra="search", why="by = 'dr-ucb'")
    kernels = regressors.kernels
    x, y = np.array([p.progress for p in points]), np.array(values)
    scale = float(y.std()) or 1.0
    kernel = kernels.ConstantKernel(1.0, (0.1, 100.0)) * kernels.Matern(0.3, (0.05, 2.0), nu=2.5)
    noise = np.array([p.standard_error for p in points]) / scale
    process = regressors.GaussianProcessRegressor(
        kernel, alpha=noise**2 + 1e-6, normalize_y=False, random_state=0
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a length at its bound is no fault with five points
        process.fit(x[:, None], (y - y.mean()) / scale)
    if busy:
        at = np.array(busy)
        found = process.predict(at[:, None])
        fixed = regressors.GaussianProcessRegressor(process.kernel_, alpha=1e-4, optimizer=None)
        more = np.concatenate([(y - y.mean()) / scale, found])
        process = fixed.fit(np.concatenate([x, at])[:, None], more)
    mean, deviation = process.predict(grid[:, None], return_std=True)
    return mean * scale + y.mean(), deviation * scale
