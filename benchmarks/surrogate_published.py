"""Published tables of GPUs: `auto` from a few hundred rows, beside what others fit, in one run.

    python -P benchmarks/surrogate_published.py FOLDER [--tables h100,bmm] [--seeds 3]

FOLDER holds ``aiconfigurator_*_gemm.parquet``, ``neusight_v100_*.parquet`` and, if it is there,
TinyNAS's ``conv_fp32.txt``. Each table's rows are drawn at random, and 2,000 others are predicted;
all methods see the same rows. Settings are those of the package; none is set for one table.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

sys.path.insert(0, str(Path(__file__).parent))
from surrogate_baselines import gaussian_process, log_linear, random_forest, rbf_sizes

from latprof.surrogate import fit
from latprof.tables import (
    LatencyTable,
    import_aiconfigurator,
    import_neusight,
    import_tinynas_trt,
)
from latprof.vocabulary import Measurement, Target

BASELINES = {f.__name__: f for f in (gaussian_process, random_forest, log_linear, rbf_sizes)}
ROWS, TESTED = 200, 2000

#: Of the TensorRT table, as its own benchmark has it.
ROWS_OF_TENSORRT = 100

_TENSORRT: dict[str, Callable[[Measurement], bool]] = {
    "tensorrt_1x1": lambda m: m.workload.label == "conv2d.k1",
    "tensorrt_3x3": lambda m: m.workload.label == "conv2d.k3",
    "tensorrt_all": lambda m: True,
}


def read(folder: Path) -> dict[str, LatencyTable]:
    """The published tables of a folder, by short names."""
    found = {}
    for path in sorted(folder.glob("aiconfigurator_*_gemm.parquet")):
        found[path.stem.split("_")[1]] = import_aiconfigurator(path)
    for path in sorted(folder.glob("neusight_v100_*.parquet")):
        found[path.stem.split("_")[2]] = import_neusight(path)
    if (path := folder / "conv_fp32.txt").exists():
        table = import_tinynas_trt(path, Target("NVIDIA V100", "tensorrt", "unknown"))
        for name, kept in _TENSORRT.items():
            rows = tuple(m for m in table.usable if kept(m))
            found[name] = LatencyTable(table.target, rows)
    return found


def split(table: LatencyTable, rows: int, seed: int) -> tuple[list[Measurement], list[Measurement]]:
    """(rows to fit, rows to predict), of distinct shapes."""
    distinct = list({m.workload: m for m in table.usable}.values())
    order = np.random.default_rng(seed).permutation(len(distinct))
    return (
        [distinct[i] for i in order[:rows]],
        [distinct[i] for i in order[rows : rows + TESTED]],
    )


def scores(
    predicted_s: Any, test: Sequence[Measurement], interval: tuple[Any, Any] | None = None
) -> dict[str, float]:
    truth_s = np.array([m.latency_s for m in test])
    errors = np.abs(predicted_s / truth_s - 1)
    found = {
        "mape": float(errors.mean()),
        "median": float(np.median(errors)),
        "p90": float(np.quantile(errors, 0.9)),
        "within_10pct": float((errors <= 0.10).mean()),
    }
    if interval is not None:
        found["covered"] = float(((interval[0] <= truth_s) & (truth_s <= interval[1])).mean())
    return found


def _once(table: LatencyTable, rows: int, seed: int) -> dict[str, dict[str, float]]:
    train, test = split(table, rows, seed)
    shapes = [m.workload for m in test]
    found = {}
    start = time.perf_counter()
    surrogate = fit(LatencyTable(table.target, tuple(train)), seed=seed)
    fit_s = time.perf_counter() - start
    predicted = surrogate.predict(shapes)
    interval = (predicted.lower_s, predicted.upper_s)
    found["auto"] = scores(predicted.latency_s, test, interval) | {"fit_s": fit_s}
    with threadpool_limits(1, user_api="blas"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn's, of a length at its bound
        for name, baseline in BASELINES.items():
            found[name] = scores(baseline(train, shapes), test)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--tables", default="")
    parser.add_argument("--seeds", type=int, default=3)
    asked = parser.parse_args()
    result: dict[str, Any] = {"machine": platform.machine(), "seeds": asked.seeds, "tables": {}}
    for name, table in read(asked.folder).items():
        if asked.tables and name not in asked.tables.split(","):
            continue
        rows = ROWS_OF_TENSORRT if name in _TENSORRT else ROWS
        runs = [_once(table, rows, seed) for seed in range(asked.seeds)]
        means = {
            method: {k: float(np.mean([r[method][k] for r in runs])) for k in runs[0][method]}
            for method in runs[0]
        }
        result["tables"][name] = {"rows": rows, **means}
        line = "  ".join(f"{m} {s['mape']:.1%}" for m, s in means.items())
        auto = means["auto"]
        more = f"within 10% {auto['within_10pct']:.0%}, covered {auto['covered']:.1%}"
        print(f"{name}: {line}; auto: {more}, {auto['fit_s']:.1f} s", file=sys.stderr)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
