"""What masks and their penalty add where much must go: channels to few MACs, weights to few.

    python -P benchmarks/penalty.py FOLDER                       everything; a table last
    python -P benchmarks/penalty.py FOLDER --only-report         what is there

The networks and trainings of ``density.py``, with the variants of ``ablation.py``; channels go
under a budget of MACs, single weights under one of params. Neither needs a device, so that many
runs can be made where ``ablation.py`` measures each. Every run is one line of the rows and is not
run again.
"""

# ruff: noqa: E402  # how a process trains is set before torch is imported
from __future__ import annotations

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from latprof.pipeline import prepare_for_training

prepare_for_training("the study")  # before torch is imported

import pandas as pd

sys.path.insert(0, str(Path(__file__).parent))
from _choosing import Original, compressor, run_cells, train_on, with_networks
from _json_rows import read_rows, study_parser
from ablation import ABLATED

from latprof import Masks, Prune, Sparse
from latprof.compress import Method, accuracy, trace

METHODS: dict[str, Method] = {
    "masks": Masks(),
    **ABLATED,
    "paper_l1l2_steered": replace(ABLATED["paper_l1l2"], steered=True, penalty_weight=0.0),
}


def main() -> None:
    o = _options()
    if not o.only_report:
        run_cells(o, {"budget": o.budgets, "method": o.methods}, run)
    print(report(read_rows(o.rows)))


def run(original: Original, budget: str, method: str) -> dict[str, Any]:
    start = time.monotonic()
    block = Prune() if budget.startswith("macs") else Sparse()
    comp = compressor(original, budget, block, METHODS[method])
    train_on(comp, original)
    small = comp.shrink().eval()
    macs = [trace(model, original.example).stats().macs for model in (small, original.model)]
    return {
        "accuracy": accuracy(small, *original.test),
        "original_accuracy": accuracy(original.model, *original.test),
        "macs": macs[0] / macs[1],
        "ratio_before_fix": float(comp.ratio_before_fix),
        "counts": comp.counts(),
        "wall_s": time.monotonic() - start,
    }


def report(rows: list[dict[str, Any]]) -> str:
    """Accuracy in percent: means over seeds, and their standard deviation."""
    if not rows:
        return "no rows"
    table = pd.DataFrame(rows)
    table["accuracy %"] = 100 * table["accuracy"]
    by = table.groupby(["network", "budget", "method"], sort=False)
    found = by["accuracy %"].agg(["mean", "std", "count"])
    found["cost / budget before the end"] = by["ratio_before_fix"].mean()
    return str(found.round(2).to_string())


def _options() -> argparse.Namespace:
    parser = study_parser(__doc__, "penalty.jsonl")
    parser.add_argument("--budgets", nargs="*", default=["macs=10%", "params=2%"])
    parser.add_argument("--methods", nargs="*", default=list(METHODS), choices=METHODS)
    return with_networks(parser, ["lenet"])


if __name__ == "__main__":
    main()
