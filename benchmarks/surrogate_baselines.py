"""What others fit to latency tables, behind one signature: (train, test) -> seconds."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import Rbf
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestRegressor
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

from latprof.vocabulary import Measurement
from latprof.workloads import Conv2d, MatMul, Workload

Floats = NDArray[np.float64]
Baseline = Callable[[Sequence[Measurement], Sequence[Workload]], Floats]


def features(workloads: Sequence[Workload]) -> Floats:
    """nn-Meter's for a convolution: map size, channels, kernel, stride, FLOPs and parameters; of a
    matrix product its sizes."""
    return np.array([
        (w.h, *w.channels, w.kernel, w.stride, w.batch, w.macs, w.weight_count)
        if isinstance(w, Conv2d) else (w.m, w.k, w.n, 1, 1, w.batch, w.macs, w.weight_count)
        if isinstance(w, MatMul) else (w.macs / np.prod(w.channels), *w.channels, 1, 1, 1, w.macs,
                                       w.weight_count)
        for w in workloads
    ], dtype=float)  # fmt: skip


def random_forest(train: Sequence[Measurement], test: Sequence[Workload]) -> Floats:
    """nn-Meter's regressor; it predicts the log, which is kinder to it than seconds."""
    forest = RandomForestRegressor(n_estimators=300, random_state=0)
    forest.fit(features([m.workload for m in train]), np.log([m.latency_s for m in train]))
    return np.asarray(np.exp(forest.predict(features(test))))


def boosted_waves(train: Sequence[Measurement], test: Sequence[Workload]) -> Floats:
    """Gradient boosting that is told how many waves of tiles 80 processors take: not a method
    anybody offers, but a mark of how much a table's rows tell a learner without a law."""
    a, b = (np.log(_waves(w)) for w in ([m.workload for m in train], test))
    model = HistGradientBoostingRegressor(
        max_iter=600, learning_rate=0.05, min_samples_leaf=5, random_state=0
    )
    latency_s = np.array([m.latency_s for m in train])
    level = a[:, 0]  # products: what is left to learn is the time of each
    model.fit(a, np.log(latency_s) - level)
    return np.asarray(np.exp(model.predict(b) + b[:, 0]))


def _waves(workloads: Sequence[Workload]) -> Floats:
    rows = []
    for w in workloads:
        assert isinstance(w, Conv2d)
        m, n = w.batch * w.h_out * w.w_out, w.c_out
        tiles = [np.ceil(m / a) * np.ceil(n / b) for a in (32, 64, 128) for b in (32, 64, 128)]
        waves = [np.ceil(t / 80) for t in tiles]
        filled = [t / 80 / v for t, v in zip(tiles, waves, strict=True)]
        sizes = (w.macs + 1e6, m, n, w.c_in, w.h, w.stride, w.batch, m * n, m * w.c_in, n * w.c_in)
        rows.append([*sizes, *waves, *filled])
    return np.array(rows, dtype=float)


def log_linear(train: Sequence[Measurement], test: Sequence[Workload]) -> Floats:
    """Least squares of log latency over logs of sizes."""
    a, b = (_log_sizes(w) for w in ([m.workload for m in train], test))
    line, _ = _line(a, np.log([m.latency_s for m in train]))
    return np.asarray(np.exp(line(b)))


def gaussian_process(train: Sequence[Measurement], test: Sequence[Workload]) -> Floats:
    """scikit-learn's, with one Matern 5/2 length for each size, on what log_linear leaves."""
    a, b = (_log_sizes(w) for w in ([m.workload for m in train], test))
    varies = np.ptp(a, axis=0) > 0
    a, b = a[:, varies], b[:, varies]
    line, residual = _line(a, np.log([m.latency_s for m in train]))
    center, scale = a.mean(axis=0), a.std(axis=0)
    lengths = Matern(np.ones(a.shape[1]), (1e-2, 1e3), nu=2.5)
    kernel = ConstantKernel(1.0, (1e-3, 1e3)) * lengths + WhiteKernel(1e-2, (1e-6, 1e1))
    process = GaussianProcessRegressor(kernel, normalize_y=True)
    process.fit((a - center) / scale, residual)
    return np.asarray(np.exp(line(b) + process.predict((b - center) / scale)))


def rbf_sizes(train: Sequence[Measurement], test: Sequence[Workload]) -> Floats:
    """scipy's Rbf over logs of sizes and of latency, for shapes that form no families."""
    a, b = (_log_sizes(w) for w in ([m.workload for m in train], test))
    varies = np.ptp(a, axis=0) > 0
    rbf = Rbf(*a[:, varies].T, np.log([m.latency_s for m in train]), function="linear")
    return np.asarray(np.exp(rbf(*b[:, varies].T)))


def _log_sizes(workloads: Sequence[Workload]) -> Floats:
    sizes = features(workloads)[:, :6]
    groups = [w.groups if isinstance(w, Conv2d) else 1 for w in workloads]
    return np.asarray(np.log(np.column_stack([sizes, groups])))


def _line(x: Floats, y: Floats) -> tuple[Callable[[Floats], Floats], Floats]:
    """Least squares: the line, and what it leaves."""
    ones = np.ones((len(x), 1))
    weights, *_ = np.linalg.lstsq(np.hstack([x, ones]), y, rcond=None)

    def line(points: Floats) -> Floats:
        return np.asarray(points @ weights[:-1] + weights[-1])

    return line, y - line(x)


def rbf_cubic(train: Sequence[Measurement], test: Sequence[Workload]) -> Floats:
    """NetAdapt's: scipy's Rbf with the cubic function over channel counts, one per family."""
    result = np.empty(len(test))
    for family in {w.family for w in test}:
        rows = [m for m in train if m.workload.family == family]
        wanted = [i for i, w in enumerate(test) if w.family == family]
        counts = np.array([m.workload.channels for m in rows], dtype=float)
        rbf = Rbf(*counts.T, [m.latency_s for m in rows], function="cubic")
        result[wanted] = rbf(*np.array([test[i].channels for i in wanted], dtype=float).T)
    return result


BASELINES: dict[str, Baseline] = {
    "random_forest": random_forest,
    "rbf_cubic": rbf_cubic,
    "log_linear": log_linear,
}
