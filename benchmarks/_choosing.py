"""Networks and trainings that the studies of methods share, each trained once per seed."""

# ruff: noqa: E402  # how a process trains is set before torch is imported
from __future__ import annotations

import argparse
import copy
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from latprof.pipeline import prepare_for_training

prepare_for_training("the study")  # before torch is imported

import cifar10
import torch
from _json_rows import add_rows
from _originals import trained_once
from torch import Tensor, nn

from latprof import Compressor
from latprof.compress import Block, Method, TensorBatches, TrainSettings, train
from latprof.zoo import ResNet, fashion_mnist, mobilenet_v3_small

__all__ = [
    "NETWORKS",
    "Original",
    "Study",
    "compressor",
    "run_cells",
    "train_on",
    "with_networks",
]


def lenet() -> nn.Module:
    """LeNet-5 in its usual form of today, 431,080 weights."""
    first = [nn.Conv2d(1, 20, 5), nn.ReLU(), nn.MaxPool2d(2)]
    second = [nn.Conv2d(20, 50, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()]
    return nn.Sequential(*first, *second, nn.Linear(800, 500), nn.ReLU(), nn.Linear(500, 10))


def resnet20() -> nn.Module:
    return ResNet((3, 3, 3), 1, width=16)


def vgg16_half() -> nn.Module:
    """VGG-16 (arXiv:1409.1556) as it is used on CIFAR-10, each layer half as wide."""
    layers: list[nn.Module] = []
    before = 3
    for width, depth in ((32, 2), (64, 2), (128, 3), (256, 3), (256, 3)):
        for _ in range(depth):
            layers += [nn.Conv2d(before, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)]
            layers += [nn.ReLU(inplace=True)]
            before = width
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(before, 10))


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
    "vgg16_half": Study(
        vgg16_half,
        "cifar10",
        TrainSettings(12, lr=2e-3),
        TrainSettings(4, lr=1e-3, final=0.5),
        TrainSettings(2, lr=1e-3),
    ),
    "mobilenet_v3_small": Study(
        lambda: mobilenet_v3_small()[0],
        "fashion_mnist",
        TrainSettings(3),
        TrainSettings(2, lr=2e-3, final=0.5),
        TrainSettings(2, lr=2e-3),
    ),
}


class Original(NamedTuple):
    """A trained network of a seed; what its rows are known by, its study, and its data."""

    cell: dict[str, Any]
    study: Study
    model: nn.Module
    batches: TensorBatches
    test: tuple[Tensor, Tensor]

    @property
    def example(self) -> Tensor:
        return torch.zeros(1, *self.test[0].shape[1:])


def with_networks(parser: argparse.ArgumentParser, default: list[str]) -> argparse.Namespace:
    """Options of a study, with those of ``originals``."""
    parser.add_argument("--data", type=Path, default=cifar10.FOLDER)
    parser.add_argument("--networks", nargs="*", default=default, choices=NETWORKS)
    parser.add_argument("--images", type=int, default=10_000, help="to train on")
    return parser.parse_args()


def run_cells(
    o: argparse.Namespace, axes: Mapping[str, Sequence[Any]], run: Callable[..., Any]
) -> None:
    """Add what ``run(original, *values)`` returns to the rows, for each original and each
    combination of the axes' values that has no row yet."""
    torch.set_num_threads(o.threads)
    o.folder.mkdir(parents=True, exist_ok=True)
    for original in originals(o):
        for values in itertools.product(*axes.values()):
            cell = original.cell | dict(zip(axes, values, strict=True))
            add_rows(o.rows, cell, run, original, *values)


def originals(o: argparse.Namespace) -> Iterator[Original]:
    """Of each network and seed that has its data; trained where FOLDER does not have it."""
    for network, seed in itertools.product(o.networks, o.seeds):
        study = NETWORKS[network]
        data = _data(study.data, o, seed)
        if isinstance(data, str):
            print(f"skipped {network}: {data}")
            continue
        torch.manual_seed(seed)
        path = o.folder / f"{network}-{seed}-{o.images}.pt"
        model = trained_once(study.make(), path, data[0], study.original, seed=seed)
        yield Original({"network": network, "seed": seed, "images": o.images}, study, model, *data)


def compressor(original: Original, budget: str, block: Block, method: Method) -> Compressor:
    """Of a copy, with the steps in which the study has a method choose."""
    return Compressor(
        copy.deepcopy(original.model),
        original.example,
        None,
        budget,
        blocks=[block],
        method=method,
        steps=original.study.choosing.steps(len(original.batches)),
    )


def train_on(comp: Compressor, original: Original) -> None:
    """Choose, then fine-tune."""
    for settings in (original.study.choosing, original.study.after):
        train(comp, original.batches, settings, seed=original.cell["seed"])


def _data(
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
