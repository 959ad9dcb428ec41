"""Accuracy of surrogates and baselines on held-out shapes, from at most 200 measured ones.

python -P benchmarks/surrogate_data.py RUNTIME OP FOLDER     measure, for each runtime and op
python -P benchmarks/surrogate_accuracy.py FOLDER            fit and compare; JSON last
"""

from __future__ import annotations

import json
import platform
import sys
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from surrogate_baselines import BASELINES
from surrogate_data import HELD_OUT_SEED, OPS, RUNTIMES

from latprof.surrogate import Prediction, fit
from latprof.tables import LatencyTable
from latprof.workloads import Workload

Floats = np.ndarray[tuple[int, ...], np.dtype[np.float64]]


def main() -> None:
    folder = Path(sys.argv[1])
    result: dict[str, Any] = {
        "machine": platform.processor() or platform.machine(),
        "versions": {p: version(p) for p in ("latprof", "numpy", "scipy", "scikit-learn")},
        "held_out_seed": HELD_OUT_SEED,
        "tables": {},
    }
    for runtime in RUNTIMES:
        for op in OPS:
            if (folder / f"{runtime}_{op}_held_out.parquet").exists():
                result["tables"][f"{runtime} {op}"] = _compare(folder, f"{runtime}_{op}")
    print(json.dumps(result))


def _compare(folder: Path, stem: str) -> dict[str, Any]:
    tables = {
        name: LatencyTable.load(folder / f"{stem}_{name}.parquet")
        for name in ("adaptive", "spread", "paper", "held_out")
    }
    test = tables["held_out"].usable
    shapes = [m.workload for m in test]
    truth_s = np.array([m.latency_s for m in test])
    rows: dict[str, Any] = {}
    for plan in ("adaptive", "spread"):
        for method in ("tile", "linear", "cubic"):
            rows[f"{method}, {plan} plan"] = _surrogate(tables[plan], method, shapes, truth_s)
        for name, baseline in BASELINES.items():
            train = tables[plan].usable
            rows[f"{name}, {plan} plan"] = {
                "n_train": len(train),
                **_score(np.asarray(baseline(train, shapes)), truth_s),
            }
    rows["linear, paper plan"] = _surrogate(tables["paper"], "linear", shapes, truth_s)
    ours = min(rows[f"tile, {p} plan"]["mape"] for p in ("adaptive", "spread"))
    theirs = {k: r["mape"] for k, r in rows.items() if not k.startswith("tile")}
    best = min(theirs, key=lambda k: theirs[k])
    for name, row in rows.items():
        print(f"{stem:24s} {name:28s}", *(f"{k} {v:.4g}" for k, v in row.items()), file=sys.stderr)
    return {
        "target": str(tables["held_out"].target),
        "n_held_out": len(test),
        "spread_of_timing": float(np.median([m.spread for m in test])),
        "best_baseline": best,
        "mape_over_best_baseline": ours / theirs[best],
        "methods": rows,
    }


def _surrogate(
    table: LatencyTable, method: str, shapes: Sequence[Workload], truth_s: Floats
) -> dict[str, Any]:
    start = time.perf_counter()
    surrogate = fit(table, method=method)
    seconds = time.perf_counter() - start
    predicted: Prediction = surrogate.predict(shapes)
    inside = (predicted.lower_s <= truth_s) & (truth_s <= predicted.upper_s)
    return {
        "n_train": len(table.usable),
        **_score(predicted.latency_s, truth_s),
        "covered": float(inside.mean()),
        "fit_s": seconds,
    }


def _score(predicted_s: Floats, truth_s: Floats) -> dict[str, float]:
    errors = np.abs(predicted_s / truth_s - 1)
    return {"mape": float(errors.mean()), "within_10pct": float((errors <= 0.10).mean())}


if __name__ == "__main__":
    main()
