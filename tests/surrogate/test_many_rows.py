"""Tables of thousands of rows, whose predictions are made from the nearest ones."""

from __future__ import annotations

import numpy as np
import pytest
from support.tables import table_of

from latprof.surrogate import fit
from latprof.surrogate.methods import _gp
from latprof.surrogate.methods._gp import GaussianProcess
from latprof.workloads import Attention, MatMul, Workload


def _process(n: int, seed: int = 0) -> GaussianProcess:
    generator = np.random.default_rng(seed)
    x, p = generator.uniform(0, 4, (n, 3)), generator.uniform(0, 1, (n, 1))
    y = 0.1 * np.sin(2 * x[:, 0]) + 0.05 * x[:, 1] * p[:, 0] + generator.normal(0, 0.01, n)
    return GaussianProcess.fit(x, p, y, seed=seed)


def test_the_nearest_rows_say_what_all_say(monkeypatch: pytest.MonkeyPatch) -> None:
    process = _process(1500)
    generator = np.random.default_rng(1)
    x, p = generator.uniform(0, 4, (200, 3)), generator.uniform(0, 1, (200, 1))
    mean, sd = process.posterior(x, p)
    monkeypatch.setattr(_gp, "_EXACT_ROWS", 2000)
    exact, exact_sd = process.posterior(x, p)
    assert np.quantile(np.abs(mean - exact) / exact_sd, 0.95) < 1
    assert np.all(sd >= exact_sd - 1e-3)  # what is left out could only have helped
    assert np.median(sd / exact_sd) < 1.2


def test_many_rows_are_fitted_whole() -> None:
    """What a random part chooses takes all rows: those that are held out, too, in the end."""
    sizes = np.unique(np.geomspace(16, 4096, 19).round().astype(int))
    shapes: list[Workload] = [
        MatMul(int(m), int(k), int(n)) for m in sizes for k in sizes for n in sizes
    ]
    table = table_of(shapes, noise=0.01)
    surrogate = fit(table, method="gp")
    (label,) = surrogate.labels.values()
    assert label.held_out is not None
    assert label.held_out.n_train == len(shapes) - 2000
    assert label.rows == len(shapes)
    assert label.law.residual.y.shape == (len(shapes),)  # type: ignore[attr-defined]
    rows = list(table.usable)[::37]
    predicted = surrogate.predict([m.workload for m in rows])
    measured = np.array([m.latency_s for m in rows])
    assert np.mean(np.abs(predicted.latency_s / measured - 1)) < 0.02
    within = (predicted.lower_s <= measured) & (measured <= predicted.upper_s)
    assert np.mean(within) > 0.85


def test_attention_is_fitted_by_all_its_sizes() -> None:
    shapes: list[Workload] = [
        Attention(heads, queries, 512, head_dim, shared, causal=False)
        for heads in (4, 8, 16, 32)
        for queries in (1, 16, 128, 512)
        for head_dim in (32, 64, 128)
        for shared in (1, 4)
    ]
    surrogate = fit(table_of(shapes))
    one, four = (Attention(12, 64, 512, 64, shared) for shared in (1, 4))
    predicted = surrogate.predict([one, four]).latency_s
    assert predicted[0] > predicted[1]  # which reads a quarter of the keys and values
    held_out = surrogate.labels["attention"].held_out
    assert held_out is not None
    assert held_out.mape < 0.1
