"""What makes learned thresholds prune: the share of weights that stays, epoch by epoch.

    python -P benchmarks/thresholds.py FOLDER --data DIR         ResNet-20 on CIFAR-10; a table last
    python -P benchmarks/thresholds.py FOLDER --only-report      what is there

From one trained network per seed, ``Threshold`` is trained without a budget that steers it: with
the soft L0 term of Azarian et al. (eq. 9), without any term, with L2 in its place, and with the
gradient of their eq. 3, in which a weight near its threshold is moved by its gate. Every variant is
one line per epoch of FOLDER/thresholds.jsonl and is not run again. DIR has cifar10_train.parquet
and cifar10_test.parquet.
"""

# ruff: noqa: E402  # how a process trains is set before torch is imported
from __future__ import annotations

import argparse
import copy
import itertools
import sys
from pathlib import Path
from typing import Any

from latprof.pipeline import prepare_for_training

prepare_for_training("the study")  # before torch is imported

import pandas as pd
import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parent))
import cifar10
from _json_rows import append_row, read_rows
from _originals import trained_once
from density import resnet20

from latprof import Compressor, Sparse, Threshold
from latprof.compress import TensorBatches, TrainSettings, accuracy

#: Of L0: lambda times the share of weights that stays. Of L2: times the sum of squares.
_L0, _L2 = 0.5, 5e-4
VARIANTS = {
    "l0": Threshold(steered=False, penalty_weight=_L0),
    "none": Threshold(steered=False, regularizer="none"),
    "l2": Threshold(steered=False, penalty_weight=_L2, regularizer="l2"),
    "eq. 3": Threshold(steered=False, penalty_weight=_L0, constant_gate=False),
}
_ORIGINAL = TrainSettings(12, lr=4e-3)


def main() -> None:
    o = _options()
    path = o.folder / "thresholds.jsonl"
    if not o.only_report:
        if reason := cifar10.missing(o.data):
            print(f"skipped: {reason}")
            return
        torch.set_num_threads(o.threads)
        o.folder.mkdir(parents=True, exist_ok=True)
        test = cifar10.load(o.data, "test", o.test_images)
        for seed, variant in itertools.product(o.seeds, o.variants):
            cell = {"seed": seed, "variant": variant, "images": o.images, "epochs": o.epochs}
            if any(cell.items() <= row.items() for row in read_rows(path)):
                continue
            images, labels = cifar10.load(o.data, "train", o.images)
            batches = TensorBatches(images, labels, seed=seed)
            torch.manual_seed(seed)
            where = o.folder / f"resnet20-{seed}-{o.images}.pt"
            model = trained_once(resnet20(), where, batches, _ORIGINAL, seed=seed)
            for row in epochs_of(copy.deepcopy(model), VARIANTS[variant], batches, test, o):
                append_row(path, cell | row)
                print(read_rows(path)[-1], file=sys.stderr, flush=True)
    print(report(read_rows(path)))


def epochs_of(
    model: nn.Module,
    method: Threshold,
    batches: TensorBatches,
    test: tuple[Tensor, Tensor],
    o: argparse.Namespace,
) -> list[dict[str, Any]]:
    """After each epoch: the share of weights above their threshold, and the accuracy of these."""
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
    table = pd.DataFrame(rows)
    found = []
    for figure in ("kept", "accuracy"):
        means = 100 * table.groupby(["epoch", "variant"], sort=False)[figure].mean().unstack()
        found.append(f"{figure}, %\n\n{means.round(1).to_string()}")
    return "\n\n".join(found)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--data", type=Path, default=cifar10.FOLDER)
    parser.add_argument("--variants", nargs="*", default=list(VARIANTS), choices=VARIANTS)
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1, 2])
    parser.add_argument("--images", type=int, default=10_000, help="to train on")
    parser.add_argument("--test-images", type=int, default=2_000)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--lr", type=float, default=0.02)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only-report", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
