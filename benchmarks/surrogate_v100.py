"""V100 with TensorRT: the 1x1 convolutions published with TinyNAS, from 100 rows.

    python -P benchmarks/surrogate_v100.py TABLE.txt        the text that `table import` reads

The method's settings are those of the package; nothing is set for this table. What the table's
rows tell at all is marked by gradient boosting that is given ten times as many, and nearly all; and
what a hundred of them can tell this method, by one that was told the weights of its base and the
hyperparameters of its residual by 1,300 others (``tile_told``).
"""

from __future__ import annotations

import json
import platform
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from surrogate_baselines import boosted_waves, log_linear, random_forest

from latprof.surrogate import Shapes, Surrogate, SurrogateOracle, fit
from latprof.surrogate.methods import TileLaw
from latprof.tables import LatencyTable, import_tinynas_trt
from latprof.vocabulary import Measurement, Target

Ints = np.ndarray[tuple[int, ...], np.dtype[np.int64]]
Floats = np.ndarray[tuple[int, ...], np.dtype[np.float64]]

METHODS = {f.__name__: f for f in (random_forest, log_linear, boosted_waves)}
SEEDS = range(5)
SIZES = (100, 300, 1000, 1300)


def main() -> None:
    target = Target("NVIDIA V100", "tensorrt", "unknown")
    published = import_tinynas_trt(Path(sys.argv[1]), target)
    rows = [m for m in published.measurements if m.workload.label == "conv2d.k1"]
    result: dict[str, Any] = {"rows": len(rows), "seeds": list(SEEDS),
                              "machine": platform.machine(), "methods": {}}  # fmt: skip
    for size in SIZES:
        names = ["tile", "random_forest", "log_linear", "boosted_waves"]
        for name in names if size > SIZES[0] else ["tile_chosen", "tile_told", *names]:
            scores = [_score(name, rows, size, seed) for seed in SEEDS]
            mean = {k: float(np.mean([s[k] for s in scores])) for k in scores[0]}
            mean["within_10pct_worst_seed"] = min(s["within_10pct"] for s in scores)
            result["methods"].setdefault(name, {})[str(size)] = mean
            print(size, name, mean, file=sys.stderr)
    most = len(rows) * 9 // 10
    result["all_but_a_tenth"] = {
        "rows": most,
        **{k: v for k, v in _score("boosted_waves", rows, most, 0).items() if k != "seconds"},
    }
    print("all but a tenth", result["all_but_a_tenth"], file=sys.stderr)
    print(json.dumps(result))


def _score(name: str, rows: list[Measurement], size: int, seed: int) -> dict[str, float]:
    order = np.random.default_rng(seed).permutation(len(rows))
    if name == "tile_chosen":
        order = _chosen_first(rows, order, size)
    train, test = [rows[i] for i in order[:size]], [rows[i] for i in order[size:]]
    shapes = [m.workload for m in test]
    truth_s = np.array([m.latency_s for m in test])
    start = time.perf_counter()
    scores = {}
    if name == "tile_told":
        others, test = test[: SIZES[-1]], test[SIZES[-1] :]
        shapes, truth_s = shapes[SIZES[-1] :], truth_s[SIZES[-1] :]
        predicted_s = _told(others, train).latency_s(Shapes.of(shapes))
    elif name.startswith("tile"):
        predicted = _fit(train, seed).predict(shapes)
        predicted_s = predicted.latency_s
        inside = (predicted.lower_s <= truth_s) & (truth_s <= predicted.upper_s)
        scores["covered"] = float(inside.mean())
    else:
        predicted_s = METHODS[name](train, shapes)
    errors = np.abs(predicted_s / truth_s - 1)
    return {
        "mape": float(errors.mean()),
        "within_10pct": float((errors <= 0.10).mean()),
        "seconds": time.perf_counter() - start,
        **scores,
    }


def _fit(train: list[Measurement], seed: int) -> Surrogate:
    table = LatencyTable(Target("V100", "tensorrt", "unknown"), tuple(train))
    return fit(table, method="tile", seed=seed)


def _told(others: list[Measurement], train: list[Measurement]) -> TileLaw:
    """All that the law learns from ``others``, and no latency but those of ``train``."""
    return TileLaw.fit(*_columns(others)).conditioned(*_columns(train))


def _columns(rows: list[Measurement]) -> tuple[Shapes, Floats]:
    return Shapes.of([m.workload for m in rows]), np.array([m.latency_s for m in rows])


def _chosen_first(rows: list[Measurement], order: Ints, size: int) -> Ints:
    """The order with ``size`` rows first that the adaptive plan's criterion picks: 40 at random,
    then tens that most lower what is unsure of 200 random rows. Only picked latencies are read."""
    rng = np.random.default_rng(int(order[0]))
    chosen = order[:40].tolist()
    while len(chosen) < size:
        oracle = SurrogateOracle(_fit([rows[i] for i in chosen], 0))
        offered = [int(i) for i in rng.permutation(len(rows))[:600] if i not in chosen]
        references = [rows[i].workload for i in rng.permutation(len(rows))[:200]]
        for _ in range(min(10, size - len(chosen))):
            falls = oracle.variance_reduction([rows[i].workload for i in offered], references).sum(
                axis=1
            )
            chosen.append(offered.pop(int(np.argmax(falls))))
            oracle = oracle.fantasize(rows[chosen[-1]].workload)
    return np.array(chosen + [i for i in order.tolist() if i not in set(chosen)])


if __name__ == "__main__":
    main()
