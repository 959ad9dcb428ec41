"""What others fit to latency tables, behind one signature: (train, test) -> seconds."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import Rbf
from sklearn.ensemble import RandomForestRegressor

from latprof._measurement import Measurement
from latprof._workload import Conv2d, Workload

Floats = NDArray[np.float64]
Baseline = Callable[[Sequence[Measurement], Sequence[Workload]], Floats]


def features(workloads: Sequence[Workload]) -> Floats:
    """nn-Meter's for a convolution: map size, channels, kernel, stride, FLOPs and parameters."""
    return np.array([
        (w.h, *w.channels, w.kernel, w.stride, w.batch, w.macs, w.weight_count)
        if isinstance(w, Conv2d) else (w.macs / np.prod(w.channels), *w.channels, 1, 1, 1, w.macs,
                                       w.weight_count)
        for w in workloads
    ], dtype=float)  # fmt: skip


def random_forest(train: Sequence[Measurement], test: Sequence[Workload]) -> Floats:
    """nn-Meter's regressor; it predicts the log, which is kinder to it than seconds."""
    forest = RandomForestRegressor(n_estimators=300, random_state=0)
    forest.fit(features([m.workload for m in train]), np.log([m.latency_s for m in train]))
    return np.asarray(np.exp(forest.predict(features(test))))


def log_linear(train: Sequence[Measurement], test: Sequence[Workload]) -> Floats:
    """Least squares of log latency over logs of sizes."""
    a, b = (np.log(features(w)) for w in ([m.workload for m in train], test))
    a, b = (np.column_stack([x[:, [0, 1, 2, 4, 5]], np.ones(len(x))]) for x in (a, b))
    weights, *_ = np.linalg.lstsq(a, np.log([m.latency_s for m in train]), rcond=None)
    return np.asarray(np.exp(b @ weights))


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
