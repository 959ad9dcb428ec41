"""Published tables of tens of thousands of rows: rows and whole sites left out, and the time taken.

    python -P benchmarks/surrogate_dense.py FOLDER [--tables gemm,context_attention]

After aiconfigurator's own protocol: of each table of the H100 in FOLDER 300 interior rows are left
out, or all rows of 100 interior sites, and predicted from the rest. Interior: no size is the least
or the largest of its column. All are left out at once and before anything is chosen, so that no
row helps to predict another that is left out. A site of a matrix product is its (n, k); of
attention all but the tokens. Of rows with one shape the last counts.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from surrogate_published import scores

from latprof.surrogate import Surrogate, fit
from latprof.tables import LatencyTable, import_aiconfigurator
from latprof.vocabulary import Measurement
from latprof.workloads import Attention, MatMul, Workload

TABLES = ("gemm", "context_attention", "generation_attention")
ROWS, SITES, ASKED = 300, 100, 100_000

Left = Callable[[Sequence[Measurement], np.random.Generator], np.ndarray[Any, np.dtype[np.bool_]]]


def _sizes(w: Workload) -> tuple[int, ...]:
    if isinstance(w, MatMul):
        return w.m, w.n, w.k
    assert isinstance(w, Attention)
    return w.heads, w.keys, w.batch


def _site(w: Workload) -> tuple[Any, ...]:
    if isinstance(w, MatMul):
        return w.n, w.k
    assert isinstance(w, Attention)
    return w.heads, w.heads_per_kv, w.head_dim, w.window, w.batch


def _interior(rows: Sequence[Measurement]) -> np.ndarray[Any, np.dtype[np.bool_]]:
    sizes = np.array([_sizes(m.workload) for m in rows])
    return np.asarray(((sizes > sizes.min(0)) & (sizes < sizes.max(0))).all(1))


def _some_rows(
    rows: Sequence[Measurement], generator: np.random.Generator
) -> np.ndarray[Any, np.dtype[np.bool_]]:
    left = np.zeros(len(rows), dtype=bool)
    left[generator.choice(np.flatnonzero(_interior(rows)), ROWS, replace=False)] = True
    return left


def _some_sites(
    rows: Sequence[Measurement], generator: np.random.Generator
) -> np.ndarray[Any, np.dtype[np.bool_]]:
    sites = np.array([repr(_site(m.workload)) for m in rows])
    inside = np.unique(sites[_interior(rows)])
    chosen = generator.choice(inside, min(SITES, len(inside) // 4), replace=False)
    return np.isin(sites, chosen)


LEFT_OUT: dict[str, Left] = {"rows": _some_rows, "sites": _some_sites}


def _study(table: LatencyTable, left_out: Left, seed: int) -> tuple[dict[str, float], Surrogate]:
    rows = list({m.workload: m for m in table.usable}.values())
    left = left_out(rows, np.random.default_rng(seed))
    known = tuple(m for m, out in zip(rows, left, strict=True) if not out)
    inside = _interior(rows)
    asked = [m for m, out, inner in zip(rows, left, inside, strict=True) if out and inner]
    start = time.perf_counter()
    surrogate = fit(LatencyTable(table.target, known), seed=seed)
    fit_s = time.perf_counter() - start
    predicted = surrogate.predict([m.workload for m in asked])
    interval = (predicted.lower_s, predicted.upper_s)
    found = scores(predicted.latency_s, asked, interval)
    return found | {"known": len(known), "asked": len(asked), "fit_s": fit_s}, surrogate


def _seconds_of_many(surrogate: Surrogate, table: LatencyTable, seed: int) -> float:
    """For 100,000 shapes, most of which are in no row."""
    generator = np.random.default_rng(seed)
    kinds = [m.workload for m in table.usable]
    asked = []
    for number in generator.integers(len(kinds), size=ASKED):
        w, c_in, c_out = kinds[number], *generator.integers(64, 8192, 2)
        counts = (int(c_out), int(c_out)) if w.tied else (int(c_in), int(c_out))
        asked.append(w.with_channels(*counts))
    start = time.perf_counter()
    surrogate.predict(asked)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--tables", default=",".join(TABLES))
    parser.add_argument("--seeds", type=int, default=3)
    asked = parser.parse_args()
    result: dict[str, Any] = {"seeds": asked.seeds, "tables": {}}
    for name in asked.tables.split(","):
        path = asked.folder / f"aiconfigurator_h100_{name}.parquet"
        if not path.is_file():
            print(f"skipped {name}: no {path}", file=sys.stderr)
            continue
        start = time.perf_counter()
        table = import_aiconfigurator(path)
        found: dict[str, Any] = {"read_s": time.perf_counter() - start}
        for what, left_out in LEFT_OUT.items():
            studies = [_study(table, left_out, seed) for seed in range(asked.seeds)]
            found[what] = {
                key: float(np.mean([scores[key] for scores, _ in studies])) for key in studies[0][0]
            }
            shown = {key: round(value, 4) for key, value in found[what].items()}
            print(name, what, shown, file=sys.stderr, flush=True)
        found["predict_100000_s"] = _seconds_of_many(studies[-1][1], table, 0)
        result["tables"][name] = found
    print(json.dumps(result))


if __name__ == "__main__":
    main()
