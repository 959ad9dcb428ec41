"""Accuracy against the share of weights that is left, for each method of choosing them.

    python -P benchmarks/density.py FOLDER --data DIR            everything; a table last
    python -P benchmarks/density.py FOLDER --networks lenet      on FashionMNIST, which needs no DIR
    python -P benchmarks/density.py FOLDER --only-report         what is there

A network is trained once per seed. From there each method leaves the given share of the weights,
one by one, and trains for as many epochs in all as the others; ``one_shot`` alone is not trained
any more. Every run is one line of the rows and is not run again. DIR has
cifar10_train.parquet and cifar10_test.parquet.
"""

# ruff: noqa: E402  # how a process trains is set before torch is imported
from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

from latprof.pipeline import prepare_for_training

prepare_for_training("the study")  # before torch is imported

import pandas as pd
from torch import nn

sys.path.insert(0, str(Path(__file__).parent))
from _choosing import Original, compressor, run_cells, train_on, with_networks
from _json_rows import read_rows, study_parser

from latprof import LC, Gradual, Masks, OneShot, Sparse, Threshold
from latprof.compress import Method, accuracy

#: Shares of weights that are left, in percent.
_DENSITIES = (50.0, 25.0, 10.0, 5.0, 2.0, 1.0, 0.5)
_ONE_SHOT = "one_shot"
METHODS: dict[str, Method] = {
    _ONE_SHOT: OneShot(),
    "one_shot_tuned": OneShot(),
    "gradual": Gradual(),
    "lc": LC(),
    "masks": Masks(),
    "masks_magnitude": Masks(importance="magnitude"),
    "threshold": Threshold(),
}


def main() -> None:
    o = _options()
    if not o.only_report:
        run_cells(o, {"density": o.densities, "method": o.methods}, run)
    print(report(read_rows(o.rows)))


def run(original: Original, density: float, method: str) -> dict[str, Any]:
    start = time.monotonic()
    comp = compressor(original, f"params={density}%", Sparse(), METHODS[method])
    if method == _ONE_SHOT:
        comp.fix()
    else:
        train_on(comp, original)
    small = comp.shrink().eval()
    return {
        "accuracy": accuracy(small, *original.test),
        "original_accuracy": accuracy(original.model, *original.test),
        "left": _left(small) / _left(original.model),
        "wall_s": time.monotonic() - start,
    }


def _left(model: nn.Module) -> int:
    """Parameters that are not 0."""
    return sum(int(p.count_nonzero()) for p in model.parameters())


def report(rows: list[dict[str, Any]]) -> str:
    """Points lost, means over seeds and the widest of them, as tables."""
    if not rows:
        return "no rows"
    table = pd.DataFrame(rows)
    table["lost"] = 100 * (table["original_accuracy"] - table["accuracy"])
    found = []
    for network, part in table.groupby("network", sort=False):
        by = part.groupby(["density", "method"], sort=False)["lost"]
        means = by.mean().unstack().sort_index(ascending=False)
        original = 100 * part.groupby("seed")["original_accuracy"].first().mean()
        found.append(
            f"{network}: {original:.2f}% ({part['seed'].nunique()} seeds), points lost; standard "
            f"deviation over seeds {by.std().mean():.2f}\n\n{means.round(2).to_string()}"
        )
    return "\n\n".join(found)


def _options() -> argparse.Namespace:
    parser = study_parser(__doc__, "density.jsonl")
    parser.add_argument("--densities", nargs="*", type=float, default=list(_DENSITIES))
    parser.add_argument("--methods", nargs="*", default=list(METHODS), choices=METHODS)
    return with_networks(parser, ["lenet", "resnet20"])


if __name__ == "__main__":
    main()
