"""Ten rows of a new GPU and a table of another: `fit(table, donors=[...])` beside `fit(table)`.

    python -P benchmarks/surrogate_transfer.py FOLDER [--seeds 3] [--rows 10]

FOLDER holds ``aiconfigurator_*_gemm.parquet``. Rows are drawn at random, or chosen by the donor's
fit among 1,000 that are; 2,000 others are predicted. Beside it, for comparison: the error
of the donor's own times of the same shapes, after a correction that is fitted to all rows of both
tables.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from surrogate_published import read, scores, split

from latprof.surrogate import chosen_from, fit
from latprof.tables import LatencyTable
from latprof.workloads import MatMul

PAIRS = (("a100", "h100"), ("b200", "h100"), ("l40s", "h100"))

#: Of the donor's table, so many rows at random.
DONOR_ROWS = 1000

#: Of the new one's, so many are chosen among.
CANDIDATES = 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=10)
    asked = parser.parse_args()
    tables = read(asked.folder)
    result: dict[str, Any] = {
        "rows": asked.rows,
        "donor_rows": DONOR_ROWS,
        "pairs": {},
        "limits": {},
    }
    for name, other in PAIRS:
        limits = _limits(tables[name], tables[other])
        result["limits"][f"{name} from {other}"] = limits
        print(f"{name} from {other}, all shapes of both: {limits}", file=sys.stderr)
        runs = [_once(tables[name], tables[other], asked.rows, s) for s in range(asked.seeds)]
        result["pairs"][f"{name} from {other}"] = runs
        for how in runs[0]:
            mape = float(np.mean([r[how]["mape"] for r in runs]))
            covered = float(np.mean([r[how]["covered"] for r in runs]))
            laws = [r[how]["law"] for r in runs]
            print(
                f"{name} from {other}, {how}: {mape:.1%}, covered {covered:.1%}, {laws}",
                file=sys.stderr,
            )
    print(json.dumps(result))


def _once(table: LatencyTable, donor: LatencyTable, rows: int, seed: int) -> dict[str, Any]:
    known, _ = split(donor, DONOR_ROWS, seed)
    other = LatencyTable(donor.target, tuple(known))
    pool, test = split(table, CANDIDATES, seed)
    by_workload = {m.workload: m for m in pool}
    even = np.full(len(by_workload), 1 / len(by_workload))
    chosen = chosen_from(list(by_workload), fit(other, seed=seed), even, rows)
    samples = {"drawn": pool[:rows], "chosen": [by_workload[w] for w in chosen]}
    shapes = [m.workload for m in test]
    found: dict[str, Any] = {}
    for (which, train), donors in itertools.product(samples.items(), ([other], [])):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a donor that does not help: the method says so
            surrogate = fit(LatencyTable(table.target, tuple(train)), donors=donors, seed=seed)
        predicted = surrogate.predict(shapes)
        interval = (predicted.lower_s, predicted.upper_s)
        (label,) = surrogate.labels.values()
        found[f"{which}, {'donor' if donors else 'alone'}"] = {
            **scores(predicted.latency_s, test, interval),
            "law": f"{label.method} {type(label.law).__name__}",
        }
    return found


def _limits(table: LatencyTable, donor: LatencyTable) -> dict[str, float]:
    """Mean absolute errors: of the donor's times with a level and slopes in arithmetic and bytes,
    least squares of all rows; and of boosted trees, which are given the donor's time and the sizes,
    on the quarter of the rows that they do not see."""
    from sklearn.ensemble import HistGradientBoostingRegressor
    from sklearn.model_selection import cross_val_predict

    known = {m.workload: m.latency_s for m in donor.usable}
    both = {
        m.workload: m.latency_s
        for m in table.usable
        if isinstance(m.workload, MatMul) and m.workload in known
    }
    donor_s = np.array([known[w] for w in both])
    ratio = np.log(np.array(list(both.values())) / donor_s)
    sizes = np.log([[w.macs, w.activation_bytes + w.weight_bytes] for w in both])
    line = np.column_stack([np.ones(len(both)), sizes])
    weights = np.linalg.lstsq(line, ratio, rcond=None)[0]
    inputs = np.column_stack([np.log([[w.m, w.n, w.k] for w in both]), np.log(donor_s)])
    trees = cross_val_predict(HistGradientBoostingRegressor(max_iter=400), inputs, ratio, cv=4)
    return {
        "shapes": len(both),
        "line": float(np.mean(np.abs(np.expm1(line @ weights - ratio)))),
        "trees": float(np.mean(np.abs(np.expm1(trees - ratio)))),
    }


if __name__ == "__main__":
    main()
