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
import copy
import itertools
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
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

from latprof import LC, Compressor, Gradual, Masks, OneShot, Sparse, Threshold
from latprof.compress import Method, TensorBatches, TrainSettings, accuracy, train
from latprof.zoo import ResNet, fashion_mnist, mobilenet_v3_small

_ROWS = Path(__file__).parent / "results" / "density.jsonl"
#: Shares of weights that are left, in percent.
_DENSITIES = (50.0, 25.0, 10.0, 5.0, 2.0, 1.0, 0.5)


def lenet() -> nn.Module:
    """LeNet-5 in its usual form of today, 431,080 weights."""
    first = [nn.Conv2d(1, 20, 5), nn.ReLU(), nn.MaxPool2d(2)]
    second = [nn.Conv2d(20, 50, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()]
    return nn.Sequential(*first, *second, nn.Linear(800, 500), nn.ReLU(), nn.Linear(500, 10))


def resnet20() -> nn.Module:
    return ResNet((3, 3, 3), 1, width=16)


@dataclass(frozen=True)
class Study:
    """A network on a data set.

    Args:
        make: the untrained network.
        data: name of its data set.
        original: its first training.
        choosing, after: what every method then trains.
    """

    make: Callable[[], nn.Module]
    data: str
    original: TrainSettings
    choosing: TrainSettings
    after: TrainSettings


NETWORKS = {
    "lenet": Study(
        lenet,
        "fashion_mnist",
        TrainSettings(8, lr=2e-3),
        TrainSettings(6, lr=1e-3, final=0.5),
        TrainSettings(3, lr=1e-3),
    ),
    "resnet20": Study(
        resnet20,
        "cifar10",
        TrainSettings(12, lr=4e-3),
        TrainSettings(4, lr=2e-3, final=0.5),
        TrainSettings(2, lr=2e-3),
    ),
    "mobilenet_v3_small": Study(
        lambda: mobilenet_v3_small()[0],
        "fashion_mnist",
        TrainSettings(3),
        TrainSettings(2, lr=2e-3, final=0.5),
        TrainSettings(2, lr=2e-3),
    ),
}
_ONE_SHOT = "one_shot"
METHODS: dict[str, Method] = {
    _ONE_SHOT: OneShot(),
    "one_shot_tuned": OneShot(),
    "gradual": Gradual(),
    "lc": LC(),
    "masks": Masks(),
    "threshold": Threshold(),
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
            for density, method in itertools.product(o.densities, o.methods):
                cell = {"network": network, "seed": seed, "density": density, "method": method}
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
        f"params={cell['density']}%",
        blocks=[Sparse()],
        method=METHODS[cell["method"]],
        steps=study.choosing.steps(len(batches)),
    )
    if cell["method"] == _ONE_SHOT:
        comp.fix()
    else:
        for settings in (study.choosing, study.after):
            train(comp, batches, settings, seed=seed)
    small = comp.shrink().eval()
    return {
        "accuracy": accuracy(small, *test),
        "original_accuracy": accuracy(model, *test),
        "left": _left(small) / _left(model),
        "wall_s": time.monotonic() - start,
    }


def _left(model: nn.Module) -> int:
    """Parameters that are not 0."""
    return sum(int(p.count_nonzero()) for p in model.parameters())


def data_of(
    name: str, o: argparse.Namespace, seed: int
) -> tuple[TensorBatches, tuple[Tensor, Tensor]] | str:
    """Training batches and test set; or why not."""
    if name == "fashion_mnist":
        batches, test = fashion_mnist(images=o.images)
        return TensorBatches(batches.images, batches.labels, batches.batch, seed), test
    if reason := cifar10.missing(o.data):
        return reason
    images, labels = cifar10.load(o.data, "train", o.images)
    return TensorBatches(images, labels, seed=seed), cifar10.load(o.data, "test")


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
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--data", type=Path, default=cifar10.FOLDER)
    parser.add_argument("--networks", nargs="*", default=["lenet", "resnet20"], choices=NETWORKS)
    parser.add_argument("--densities", nargs="*", type=float, default=list(_DENSITIES))
    parser.add_argument("--methods", nargs="*", default=list(METHODS), choices=METHODS)
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1, 2])
    parser.add_argument("--images", type=int, default=10_000, help="to train on")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rows", type=Path, default=_ROWS)
    parser.add_argument("--only-report", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
