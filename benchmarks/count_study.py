"""How to count a mask's channels: the FashionMNIST study of Nasery et al., section 3.2.

    python -P benchmarks/count_study.py [FOLDER] [--data DIR]

A fully connected network with one hidden layer and batch norm after it, a mask on its 784 inputs,
plain SGD with projection onto masks >= 0. Pre-trained with cross-entropy, masks at 1, then trained
with lambda times the FLOPs that each count predicts: ``l1``, ``l1l2`` (the paper's), and
``hoyer_square``, at three strengths: the penalty of an untouched network is lambda for all counts.
One more run has none. The figure shows for each count the strength that ends nearest to half of the
FLOPs.
DIR holds the four FashionMNIST files; without it they are found as latprof.zoo finds them.
"""

from __future__ import annotations

import argparse
import itertools
import json
import platform
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.nn import functional

from latprof.compress.space import soft_counts
from latprof.zoo import fashion_mnist

Labeled = tuple[Tensor, Tensor]

COUNTS, SEEDS = ("l1", "l1l2", "hoyer_square"), (0, 1, 2)
INPUTS, HIDDEN, CLASSES = 784, 100, 10
IMAGES, BATCH, PRE_EPOCHS, EPOCHS = 20_000, 100, 2, 10
LR, MOMENTUM, EVERY = 0.05, 0.9, 50
NONE = ("l1l2", 0.0)
PLAN = (NONE, *itertools.product(COUNTS, (1.0, 5.0, 25.0)))
FULL_FLOPS = INPUTS * HIDDEN + HIDDEN * CLASSES


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path, nargs="?", default=Path("build/counts"))
    parser.add_argument("--data", type=Path)
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    batches, test = fashion_mnist(given.data, images=IMAGES)
    train = (batches.images.flatten(1), batches.labels)
    test = (test[0].flatten(1), test[1])
    runs = []
    for seed in SEEDS:
        for count, strength in PLAN:
            runs.append(_run(count, strength, seed, train, test))
            print(json.dumps({k: v for k, v in runs[-1].items() if k != "trace"}), file=sys.stderr)
    _draw(runs).savefig(given.folder / "counts.png", dpi=150)
    (given.folder / "traces.json").write_text(json.dumps(runs))
    print(json.dumps({
        "machine": platform.processor() or platform.machine(),
        "versions": {p: version(p) for p in ("latprof", "torch")},
        "seeds": list(SEEDS), "images": IMAGES, "epochs": EPOCHS, "hidden": HIDDEN,
        "methods": [_summary(count, strength, runs) for count, strength in PLAN],
    }))  # fmt: skip


class Net(nn.Module):
    """(B, 784) to (B, 10)."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Linear(INPUTS, HIDDEN, bias=False), nn.BatchNorm1d(HIDDEN)
        self.second = nn.Linear(HIDDEN, CLASSES)
        self.alpha = nn.Parameter(torch.ones(INPUTS))

    def forward(self, x: Tensor) -> Tensor:
        return self.second(torch.relu(self.norm(self.first(x * self.alpha))))

    def flops(self, count: str) -> Tensor:
        """The proxy: multiply-accumulates at the mask's soft count, as a share of the full."""
        segment = torch.zeros(INPUTS, dtype=torch.int64)
        inputs = soft_counts(self.alpha, segment, torch.tensor([float(INPUTS)]), count)
        return (inputs.sum() * HIDDEN + HIDDEN * CLASSES) / FULL_FLOPS


def _run(count: str, strength: float, seed: int, train: Labeled, test: Labeled) -> dict[str, Any]:
    torch.manual_seed(seed)
    net = Net()
    weights = [p for name, p in net.named_parameters() if name != "alpha"]
    pre = _sgd(weights)
    for images, labels in _batches(*train, seed, PRE_EPOCHS):
        _step(functional.cross_entropy(net(images), labels), pre)
    before = _accuracy(net, *test)
    optimizer = _sgd(list(net.parameters()))
    trace = [_state(net, count)]
    for step, (images, labels) in enumerate(_batches(*train, seed + 1, EPOCHS)):
        loss = functional.cross_entropy(net(images), labels) + strength * net.flops(count)
        _step(loss, optimizer)
        with torch.no_grad():
            net.alpha.clamp_(min=0)
        if (step + 1) % EVERY == 0:
            trace.append(_state(net, count))
    return {"count": count, "strength": strength, "seed": seed, "accuracy_before": before,
            "accuracy": _accuracy(net, *test), "trace": trace, **trace[-1]}  # fmt: skip


def _sgd(parameters: list[nn.Parameter]) -> torch.optim.SGD:
    return torch.optim.SGD(parameters, LR, MOMENTUM)


def _step(loss: Tensor, optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def _batches(
    images: Tensor, labels: Tensor, seed: int, epochs: int
) -> Iterator[tuple[Tensor, Tensor]]:
    dice = torch.Generator().manual_seed(seed)
    for _ in range(epochs):
        for chosen in torch.randperm(len(images), generator=dice).split(BATCH):
            yield images[chosen], labels[chosen]


@torch.no_grad()
def _state(net: Net, count: str) -> dict[str, float]:
    alpha = net.alpha
    kept = int((alpha > 0).sum())
    return {
        "mean": float(alpha.mean()), "variance": float(alpha.var(correction=0)),
        "proxy": float(net.flops(count)),
        "flops": (kept * HIDDEN + HIDDEN * CLASSES) / FULL_FLOPS,
        "weight_norm": float(net.first.weight.norm()),
    }  # fmt: skip


@torch.no_grad()
def _accuracy(net: Net, images: Tensor, labels: Tensor) -> float:
    net.eval()
    share = float((net(images).argmax(1) == labels).float().mean())
    net.train()
    return share


def _summary(count: str, strength: float, runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean and standard deviation over seeds of where the runs end, and how true the proxy was."""
    runs = [r for r in runs if (r["count"], r["strength"]) == (count, strength)]
    names = ("accuracy_before", "accuracy", "mean", "variance", "proxy", "flops", "weight_norm")
    figures: dict[str, Any] = {
        n: [float(np.mean([r[n] for r in runs])), float(np.std([r[n] for r in runs], ddof=1))]
        for n in names
    }
    gaps = [abs(t["proxy"] - t["flops"]) for r in runs for t in r["trace"]]
    grown = [r["weight_norm"] / r["trace"][0]["weight_norm"] for r in runs]
    return {
        "count": count, "strength": strength, **figures,
        "mean_gap_proxy_flops": float(np.mean(gaps)), "weight_norm_grew": float(np.mean(grown)),
    }  # fmt: skip


def _shown(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """No penalty, and of each count the strength nearest to half of the FLOPs."""
    shown = [NONE]
    for count in COUNTS:
        ends: dict[float, list[float]] = {}
        for run in runs:
            if run["count"] == count and run["strength"] > 0:
                ends.setdefault(run["strength"], []).append(run["flops"])
        shown.append((count, min(ends, key=lambda s: abs(np.mean(ends[s]) - 0.5))))
    return [r for r in runs if (r["count"], r["strength"]) in shown]


def _draw(runs: list[dict[str, Any]]) -> Figure:
    """Figure 2 of the paper: mean, variance, proxy against FLOPs, weight norm; a line per seed."""
    figure = Figure(figsize=(11, 6.5), layout="constrained")
    axes = figure.subplots(2, 2).ravel()
    colours = dict(zip(COUNTS, ("#d98032", "#1f77b4", "#3a8f5c"), strict=True))
    for run in _shown(runs):
        steps = [EVERY * i for i in range(len(run["trace"]))]
        name = "no penalty" if run["strength"] == 0 else f"{run['count']}, {run['strength']:g}"
        label = name if run["seed"] == SEEDS[0] else None
        colour = "black" if run["strength"] == 0 else colours[run["count"]]
        look = {"color": colour, "linewidth": 1.2, "label": label}
        for axis, what in zip(axes[[0, 1, 3]], ("mean", "variance", "weight_norm"), strict=True):
            axis.plot(steps, [t[what] for t in run["trace"]], **look)
        axes[2].plot(*([t[n] for t in run["trace"]] for n in ("flops", "proxy")), **look)
    axes[2].plot([0, 1], [0, 1], color="grey", linewidth=0.8, linestyle="--")
    for axis, title in zip(axes, ("mean of the mask", "variance of the mask",
                                  "proxy against true FLOPs (shares of full)",
                                  "Frobenius norm of the first weights"), strict=True):  # fmt: skip
        axis.set_title(title, fontsize=10)
        axis.grid(alpha=0.3)
    for axis in axes[[0, 1, 3]]:
        axis.set_xlabel("step")
    axes[2].set(xlabel="true FLOPs", ylabel="proxy")
    axes[0].legend()
    return figure


if __name__ == "__main__":
    main()
