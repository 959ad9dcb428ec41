"""V100 with TensorRT: the 1x1 convolutions published with TinyNAS, from 100 rows.

    python -P benchmarks/surrogate_v100.py TABLE.txt        the text that `table import` reads

The method's settings are those of the package; nothing is set for this table.
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
from surrogate_baselines import log_linear, random_forest

from latprof._measurement import Measurement
from latprof._target import Target
from latprof.surrogate import fit
from latprof.tables import LatencyTable, import_tinynas_trt

SEEDS = range(5)
SIZES = (100, 300, 1300)


def main() -> None:
    target = Target("NVIDIA V100", "tensorrt", "unknown")
    published = import_tinynas_trt(Path(sys.argv[1]), target)
    rows = [m for m in published.measurements if m.workload.label == "conv2d.k1"]
    result: dict[str, Any] = {"rows": len(rows), "seeds": list(SEEDS),
                              "machine": platform.machine(), "methods": {}}  # fmt: skip
    for size in SIZES:
        for name in ("tile", "random_forest", "log_linear"):
            scores = [_score(name, rows, size, seed) for seed in SEEDS]
            mean = {k: float(np.mean([s[k] for s in scores])) for k in scores[0]}
            mean["within_10pct_worst_seed"] = min(s["within_10pct"] for s in scores)
            result["methods"].setdefault(name, {})[str(size)] = mean
            print(size, name, mean, file=sys.stderr)
    print(json.dumps(result))


def _score(name: str, rows: list[Measurement], size: int, seed: int) -> dict[str, float]:
    order = np.random.default_rng(seed).permutation(len(rows))
    train, test = [rows[i] for i in order[:size]], [rows[i] for i in order[size:]]
    shapes = [m.workload for m in test]
    truth_s = np.array([m.latency_s for m in test])
    start = time.perf_counter()
    scores = {}
    if name == "tile":
        table = LatencyTable(Target("V100", "tensorrt", "unknown"), tuple(train))
        predicted = fit(table, method="tile", seed=seed).predict(shapes)
        predicted_s = predicted.latency_s
        inside = (predicted.lower_s <= truth_s) & (truth_s <= predicted.upper_s)
        scores["covered"] = float(inside.mean())
    else:
        method = {"random_forest": random_forest, "log_linear": log_linear}[name]
        predicted_s = method(train, shapes)
    errors = np.abs(predicted_s / truth_s - 1)
    return {
        "mape": float(errors.mean()),
        "within_10pct": float((errors <= 0.10).mean()),
        "seconds": time.perf_counter() - start,
        **scores,
    }


if __name__ == "__main__":
    main()
