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
from density import NETWORKS, data_of

from latprof import Compressor, Sparse, Threshold
from latprof.compress import TensorBatches, accuracy

#: Of L0: lambda times the share of weights that stays. Of L2: times the sum of squares.
_L0, _L2 = 0.5, 5e-4
VARIANTS = {
    "l0": Threshold(steered=False, penalty_weight=_L0),
    "none": Threshold(steered=False, regularizer="none"),
    "l2": Threshold(steered=False, penalty_weight=_L2, regularizer="l2"),
    "eq. 3": Threshold(steered=False, penalty_weight=_L0, constant_gate=False),
}
_ROWS = Path(__file__).parent / "results" / "thresholds.jsonl"


def main() -> None:
    o = _options()
    if not o.only_report:
        torch.set_num_threads(o.threads)
        o.folder.mkdir(parents=True, exist_ok=True)
        for network, seed in itertools.product(o.networks, o.seeds):
            study = NETWORKS[network]
            data = data_of(study.data, o, seed)
            if isinstance(data, str):
                print(f"skipped {network}: {data}")
                continue
            batches, test = data
            torch.manual_seed(seed)
            where = o.folder / f"{network}-{seed}-{o.images}.pt"
            model = trained_once(study.make(), where, batches, study.original, seed=seed)
            for variant in o.variants:
                cell = {"network": network, "seed": seed, "variant": variant, "images": o.images}
                cell["epochs"] = o.epochs
                if not any(cell.items() <= row.items() for row in read_rows(o.rows)):
                    copied = copy.deepcopy(model)
                    for row in epochs_of(copied, VARIANTS[variant], batches, test, o):
                        append_row(o.rows, cell | row)
                    print(read_rows(o.rows)[-1], file=sys.stderr, flush=True)
    print(report(read_rows(o.rows)))


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
    found = []
    for network, part in pd.DataFrame(rows).groupby("network", sort=False):
        for figure in ("kept", "accuracy"):
            by = part.groupby(["epoch", "variant"], sort=False)[figure]
            means = (100 * by.mean()).unstack().round(2)
            seeds = f"{part['seed'].nunique()} seeds"
            found.append(f"{network}: {figure}, %, {seeds}\n\n{means.to_string()}")
    return "\n\n".join(found)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--data", type=Path, default=cifar10.FOLDER)
    parser.add_argument("--networks", nargs="*", default=["lenet", "resnet20"], choices=NETWORKS)
    parser.add_argument("--variants", nargs="*", default=list(VARIANTS), choices=VARIANTS)
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1, 2])
    parser.add_argument("--images", type=int, default=10_000, help="to train on")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--lr", type=float, default=0.02)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rows", type=Path, default=_ROWS)
    parser.add_argument("--only-report", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
