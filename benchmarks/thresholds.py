"""What makes learned thresholds prune: the share of weights that stays, epoch by epoch.

    python -P benchmarks/thresholds.py FOLDER --data DIR          both networks; tables last
    python -P benchmarks/thresholds.py FOLDER --networks lenet    on FashionMNIST, without DIR
    python -P benchmarks/thresholds.py FOLDER --only-report       what is there

From one trained network per seed (those of ``density.py``), ``Threshold`` is trained without a
budget that steers it: with the soft L0 term of Azarian et al. (eq. 9), without any term, with L2 in
its place, and with the gradient of their eq. 3, in which a weight near its threshold is moved by
its gate. Every variant is one line per epoch of the rows and is not run again. DIR has
cifar10_train.parquet and cifar10_test.parquet.
"""

# ruff: noqa: E402  # how a process trains is set before torch is imported
from __future__ import annotations

import argparse
import copy
import sys
from pathlib import Path
from typing import Any

from latprof.pipeline import prepare_for_training

prepare_for_training("the study")  # before torch is imported

import pandas as pd
import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parent))
from _choosing import Original, run_cells, with_networks
from _json_rows import read_rows, study_parser

from latprof import Compressor, Sparse, Threshold
from latprof.compress import accuracy

#: Of L0: lambda times the share of weights that stays. Of L2: times the sum of squares.
_L0, _L2 = 0.5, 5e-4
VARIANTS = {
    "l0": Threshold(steered=False, penalty_weight=_L0),
    "none": Threshold(steered=False, regularizer="none"),
    "l2": Threshold(steered=False, penalty_weight=_L2, regularizer="l2"),
    "eq. 3": Threshold(steered=False, penalty_weight=_L0, constant_gate=False),
}


def main() -> None:
    o = _options()
    if not o.only_report:
        axes = {"variant": o.variants, "epochs": [o.epochs]}
        run_cells(o, axes, lambda original, name, _: epochs_of(original, VARIANTS[name], o))
    print(report(read_rows(o.rows)))


def epochs_of(original: Original, method: Threshold, o: argparse.Namespace) -> list[dict[str, Any]]:
    """After each epoch: the share of weights above their threshold, and the accuracy of these."""
    batches, test = original.batches, original.test
    model = copy.deepcopy(original.model)
    steps = o.epochs * len(batches)
    example = test[0][:1]
    comp = Compressor(model, example, None, None, blocks=[Sparse()], method=method, steps=steps)
    optimizer = torch.optim.SGD(comp.parameters(), lr=o.lr, momentum=0.9)
    groups = [option.group.index for option in comp.space.sparse]
    weights = sum(comp.space.sizes[group] for group in groups)
    rows = []
    for epoch in range(o.epochs):
        comp.train()
        for images, labels in batches.epoch(epoch):
            loss: Tensor = nn.functional.cross_entropy(comp(images), labels) + comp.penalty()
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            comp.step()
        comp.eval()
        counts = comp.counts()
        kept = sum(counts[group] for group in groups) / weights
        rows.append({"epoch": epoch + 1, "kept": kept, "accuracy": accuracy(comp, *test)})
    return rows


def report(rows: list[dict[str, Any]]) -> str:
    """Shares that stay, and accuracies, by epoch; means over seeds."""
    if not rows:
        return "no rows"
    found = []
    for network, part in pd.DataFrame(rows).groupby("network", sort=False):
        for figure in ("kept", "accuracy"):
            by = part.groupby(["epoch", "variant"], sort=False)[figure]
            means = (100 * by.mean()).unstack().round(2)
            seeds = f"{part['seed'].nunique()} seeds"
            found.append(f"{network}: {figure}, %, {seeds}\n\n{means.to_string()}")
    return "\n\n".join(found)


def _options() -> argparse.Namespace:
    parser = study_parser(__doc__, "thresholds.jsonl")
    parser.add_argument("--variants", nargs="*", default=list(VARIANTS), choices=VARIANTS)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--lr", type=float, default=0.02)
    return with_networks(parser, ["lenet", "resnet20"])


if __name__ == "__main__":
    main()
