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
import copy
import itertools
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from latprof.pipeline import prepare_for_training

prepare_for_training("the study")  # before torch is imported

import pandas as pd
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parent))
import cifar10
from _json_rows import append_row, read_rows
from _originals import trained_once
from ablation import ABLATED
from density import NETWORKS, data_of

from latprof import Compressor, Masks, Prune, Sparse
from latprof.compress import Method, TensorBatches, accuracy, trace, train

_ROWS = Path(__file__).parent / "results" / "penalty.jsonl"
METHODS: dict[str, Method] = {
    "masks": Masks(),
    **ABLATED,
    "paper_l1l2_steered": replace(ABLATED["paper_l1l2"], steered=True, penalty_weight=0.0),
}


def main() -> None:
    o = _options()
    if not o.only_report:
        torch.set_num_threads(o.threads)
        o.folder.mkdir(parents=True, exist_ok=True)
        for network, seed in itertools.product(o.networks, o.seeds):
            data = data_of(NETWORKS[network].data, o, seed)
            if isinstance(data, str):
                print(f"skipped {network}: {data}")
                continue
            for budget, method in itertools.product(o.budgets, o.methods):
                cell = {"network": network, "seed": seed, "budget": budget, "method": method}
                cell["images"] = o.images
                if not any(cell.items() <= row.items() for row in read_rows(o.rows)):
                    append_row(o.rows, cell | run(cell, o.folder, *data))
                    print(read_rows(o.rows)[-1], file=sys.stderr, flush=True)
    print(report(read_rows(o.rows)))


def run(
    cell: dict[str, Any], folder: Path, batches: TensorBatches, test: tuple[Tensor, Tensor]
) -> dict[str, Any]:
    study, seed = NETWORKS[cell["network"]], cell["seed"]
    start = time.monotonic()
    torch.manual_seed(seed)
    path = folder / f"{cell['network']}-{seed}-{cell['images']}.pt"
    model = trained_once(study.make(), path, batches, study.original, seed=seed)
    example = torch.zeros(1, *test[0].shape[1:])
    comp = Compressor(
        copy.deepcopy(model),
        example,
        None,
        cell["budget"],
        blocks=[Prune() if cell["budget"].startswith("macs") else Sparse()],
        method=METHODS[cell["method"]],
        steps=study.choosing.steps(len(batches)),
    )
    for settings in (study.choosing, study.after):
        train(comp, batches, settings, seed=seed)
    small = comp.shrink().eval()
    return {
        "accuracy": accuracy(small, *test),
        "original_accuracy": accuracy(model, *test),
        "macs": trace(small, example).stats().macs / trace(model, example).stats().macs,
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
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--data", type=Path, default=cifar10.FOLDER)
    parser.add_argument("--networks", nargs="*", default=["lenet"], choices=NETWORKS)
    parser.add_argument("--budgets", nargs="*", default=["macs=10%", "params=2%"])
    parser.add_argument("--methods", nargs="*", default=list(METHODS), choices=METHODS)
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1, 2])
    parser.add_argument("--images", type=int, default=10_000, help="to train on")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rows", type=Path, default=_ROWS)
    parser.add_argument("--only-report", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
