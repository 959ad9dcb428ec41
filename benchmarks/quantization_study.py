"""Learned bit widths against fixed ones: CIFAR-10 as in Nasery et al. (4.3, B.3), scaled down.

    python -P benchmarks/quantization_study.py FOLDER --data DIR       everything; JSON last
    python -P benchmarks/quantization_study.py FOLDER --only-report    what is there

Four 3x3 convolutions with batch norm, weights quantized, searched over 2, 4, 8 and 16 bits by the
penalty's strength alone; and latprof's ``Quantize`` to budgets of bytes. Scaled down to minutes on
one core: a quarter of the filters (16, 32, 64, 32), 2x2 max pooling after the first three
convolutions, the first 8,000 training images, 6 epochs; tested on all 10,000 test images. Every run
that ends is one line of the rows, is not run again, and leaves its packed file in FOLDER; last, the
files of the first seed are timed in turns. DIR is what cifar10.py reads.
"""

from __future__ import annotations

import argparse
import itertools
import json
import platform
import sys
import time
from collections.abc import Iterator
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from latprof.compress import Compressor, Quantize, export

sys.path.insert(0, str(Path(__file__).parent))
import cifar10
from _in_turns import medians_in_turns
from _json_rows import add_rows, read_rows, study_parser
from paper_bits import Bits

FILTERS, WIDTHS = (16, 32, 64, 32), (2, 4, 8, 16)
IMAGES, EPOCHS, BATCH = 8_000, 6, 128
LR, MASK_LR, FINE_TUNE = 2e-3, 1e-2, 0.25
EXAMPLE = (torch.zeros(1, 3, 32, 32),)
#: Of each file, in turns.
CALLS = 2000
#: Masks start uniformly in [0, START], as in App. B.
START = 0.5
#: Kind of penalty: strengths. Expected bits are relative to 16 bits everywhere.
PENALTIES = {
    "l1l2": (0.03, 0.3, 3.0),
    "l1": (0.1,),
    "bits_l1l2": (0.03, 0.1, 0.3),
}
#: Sizes asked of latprof's own block, relative to 16 bits everywhere.
BUDGETS = (0.35, 0.25, 0.16)


def main() -> None:
    o = _options()
    o.folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(o.threads)
    if not o.only_report:
        data = {p: cifar10.load(o.data, p) for p in ("train", "test")}
        for seed, (kind, value) in itertools.product(o.seeds, _plan()):
            cell = {"kind": kind, "value": value, "seed": seed}
            add_rows(o.rows, cell, _run, kind, value, seed, data, o.folder)
        _time_files(o)
    rows = read_rows(o.rows)
    result = _summary([r for r in rows if "accuracy" in r], [r for r in rows if "latency" in r])
    _draw(result["methods"]).savefig(o.folder / "bit-widths.png", dpi=150)
    print(json.dumps(result))


def _plan() -> list[tuple[str, float]]:
    fixed = [("float", 32.0), *(("fixed", float(b)) for b in WIDTHS)]
    paper = [(kind, s) for kind, strengths in PENALTIES.items() for s in strengths]
    return fixed + paper + [("budget", size) for size in BUDGETS]


class Net(nn.Module):
    """(B, 3, 32, 32) to (B, 10); ``weights`` replaces the weights of the four convolutions."""

    def __init__(self) -> None:
        super().__init__()
        channels = (3, *FILTERS)
        self.convs = nn.ModuleList(
            nn.Conv2d(a, b, 3, padding=1, bias=False) for a, b in itertools.pairwise(channels)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(c) for c in FILTERS)
        self.head = nn.Linear(FILTERS[-1], 10)

    def forward(self, x: Tensor) -> Tensor:
        for index, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            x = torch.relu(norm(conv(x)))
            if index < 3:
                x = functional.max_pool2d(x, 2)
        return self.head(x.mean((2, 3)))


def _run(
    kind: str, value: float, seed: int, data: dict[str, tuple[Tensor, Tensor]], folder: Path
) -> dict[str, Any]:
    """Train one network, and write its file."""
    started = time.perf_counter()
    torch.manual_seed(seed)
    train = _budgeted if kind == "budget" else _penalized
    net, row = train(Net(), kind, value, seed, data)
    path = _file(folder, kind, value, seed)
    half = 16 in row["bits"]  # its grid has no encoding: rounded to float16
    export(net, EXAMPLE, path, pack=kind != "float", float16=half)
    row["bytes"] = path.stat().st_size
    return {**row, "seconds": time.perf_counter() - started}


def _file(folder: Path, kind: str, value: float, seed: int) -> Path:
    return folder / f"{kind}-{value:g}-{seed}.onnx"


def _time_files(o: argparse.Namespace) -> None:
    """Those of the first seed beside the float32 one, a row each."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    x = EXAMPLE[0].numpy()
    calls = {}
    for kind, value in _plan():
        path = _file(o.folder, kind, value, o.seeds[0])
        session = onnxruntime.InferenceSession(str(path), options)
        name = session.get_inputs()[0].name
        calls[kind, value] = partial(session.run, None, {name: x})
    medians = medians_in_turns(calls, CALLS)
    for (kind, value), seconds in medians.items():
        row = {"latency": seconds / medians["float", 32.0], "float_s": medians["float", 32.0]}
        add_rows(o.rows, {"timed": kind, "value": value}, lambda row=row: row)


def _penalized(
    net: Net, kind: str, value: float, seed: int, data: dict[str, tuple[Tensor, Tensor]]
) -> tuple[Net, dict[str, Any]]:
    """Floats, fixed bits, or learned ones under a penalty of strength value."""
    names = [f"convs.{i}.weight" for i in range(len(FILTERS))]
    sizes = torch.tensor([net.get_parameter(n).numel() for n in names], dtype=torch.float32)
    widths = (int(value),) if kind == "fixed" else WIDTHS
    quantizers = [] if kind == "float" else [Bits(net.get_parameter(n), widths) for n in names]
    masks = [q.alpha for q in quantizers]
    for mask in masks:
        nn.init.uniform_(mask, 0, START)
    others = [*net.parameters(), *(p for q in quantizers for p in (q.low, q.high))]
    optimizer = torch.optim.Adam([{"params": others, "lr": LR}, {"params": masks, "lr": MASK_LR}])
    steps = EPOCHS * (IMAGES // BATCH)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    hard_from = round((1 - FINE_TUNE) * steps)

    def weights() -> dict[str, Tensor]:
        pairs = zip(names, quantizers, strict=bool(quantizers))
        return {n: q.weight(net.get_parameter(n)) for n, q in pairs}

    soft: list[list[float]] = []
    for step, (images, labels) in enumerate(_batches(*data["train"], seed)):
        if step == hard_from:
            soft = [q.alpha.tolist() for q in quantizers]
            for name, q in zip(names, quantizers, strict=bool(quantizers)):
                q.harden(net.get_parameter(name))
        logits = functional_call(net, weights(), (images,))
        loss = functional.cross_entropy(logits, labels)
        if kind in PENALTIES and step < hard_from:
            loss = loss + value * step / hard_from * _penalty(kind, quantizers, sizes)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        for q in quantizers:
            q.project()
    bits = [
        q.harden(net.get_parameter(n)).bits
        for n, q in zip(names, quantizers, strict=bool(quantizers))
    ]
    bits = bits or [32] * len(FILTERS)
    net.eval()
    with torch.no_grad():
        for name, weight in weights().items():
            net.get_parameter(name).copy_(weight)
    return net, {
        "accuracy": _accuracy(net, data),
        "bits": bits,
        "size_of_16_bits": float((sizes * torch.tensor(bits)).sum() / (16 * sizes.sum())),
        "masks_before_hardening": soft,
    }


def _budgeted(
    net: Net, kind: str, size: float, seed: int, data: dict[str, tuple[Tensor, Tensor]]
) -> tuple[nn.Module, dict[str, Any]]:
    """The same training under a Compressor, whose masks are fixed when the paper's are."""
    steps = EPOCHS * (IMAGES // BATCH)
    total = sum(p.numel() for p in net.parameters())
    names = [f"convs.{i}.weight" for i in range(len(FILTERS))]
    sizes = torch.tensor([net.get_parameter(n).numel() for n in names])
    held = int(sizes.sum())
    block = Quantize(bits=WIDTHS, layers=("convs.*",))
    budget = f"bytes={4 * (total - held) + 2 * size * held:.0f}"
    comp = Compressor(
        net, EXAMPLE, None, budget, blocks=[block], steps=round((1 - FINE_TUNE) * steps)
    )
    optimizer = torch.optim.Adam(comp.parameters(), lr=LR)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    comp.train()
    for images, labels in _batches(*data["train"], seed):
        loss = functional.cross_entropy(comp(images), labels) + comp.penalty()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        comp.step()
        schedule.step()
    small = comp.eval().shrink().eval()
    counts, ladder = comp.counts(), (*WIDTHS, 32)
    bits = torch.tensor([ladder[counts[o.group.index] - 1] for o in comp.space.bits])
    return small, {
        "accuracy": _accuracy(small, data),
        "bits": bits.tolist(),
        "size_of_16_bits": float((sizes * bits).sum() / (16 * sizes.sum())),
        "masks_before_hardening": [],
    }


@torch.no_grad()
def _accuracy(net: nn.Module, data: dict[str, tuple[Tensor, Tensor]]) -> float:
    guesses = torch.cat([net(x).argmax(1) for x in data["test"][0].split(500)])
    return float((guesses == data["test"][1]).float().mean())


def _penalty(kind: str, quantizers: list[Bits], sizes: Tensor) -> Tensor:
    """Each layer's count, by its share of the weights, relative to 16 bits."""
    if kind == "bits_l1l2":
        counts = torch.stack([q.cost("l1l2") for q in quantizers]) / 16
    else:
        counts = torch.stack([q.count(kind) for q in quantizers])
        counts = counts / 16 if kind == "l1" else counts
    return (counts * sizes).sum() / sizes.sum()


def _batches(images: Tensor, labels: Tensor, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """EPOCHS of the first IMAGES, shuffled and flipped at random."""
    dice = torch.Generator().manual_seed(seed)
    for _ in range(EPOCHS):
        order = torch.randperm(IMAGES, generator=dice)
        for start in range(0, IMAGES - BATCH + 1, BATCH):
            chosen = order[start : start + BATCH]
            batch = images[chosen]
            flip = torch.rand(BATCH, generator=dice) < 0.5
            batch[flip] = batch[flip].flip(3)
            yield batch, labels[chosen]


def _summary(rows: list[dict[str, Any]], timed: list[dict[str, Any]]) -> dict[str, Any]:
    methods = []
    plain = np.mean([r["bytes"] for r in rows if r["kind"] == "float"])
    latency = {(r["timed"], r["value"]): r["latency"] for r in timed}
    for kind, value in _plan():
        runs = sorted((r for r in rows if (r["kind"], r["value"]) == (kind, value)),
                      key=lambda r: r["seed"])  # fmt: skip
        accuracy = [r["accuracy"] for r in runs]
        methods.append({
            "kind": kind, "value": value, "accuracy": float(np.mean(accuracy)),
            "accuracy_sd": float(np.std(accuracy, ddof=1)), "accuracies": accuracy,
            "size_of_16_bits": float(np.mean([r["size_of_16_bits"] for r in runs])),
            "bits": [r["bits"] for r in runs],
            "file_of_float32": float(np.mean([r["bytes"] for r in runs]) / plain),
            "latency_of_float32": latency.get((kind, value)),
        })  # fmt: skip
    return {
        "machine": platform.processor() or platform.machine(),
        "seeds": sorted({r["seed"] for r in rows}),
        "versions": {"torch": version("torch"), "latprof": version("latprof")},
        "images": IMAGES, "epochs": EPOCHS, "filters": list(FILTERS), "widths": list(WIDTHS),
        "seconds": sum(r["seconds"] for r in rows), "methods": methods,
    }  # fmt: skip


def _draw(methods: list[dict[str, Any]]) -> Figure:
    """Accuracy against the size of the file, and the mean bits of each layer."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    looks = {"fixed": "s", "l1l2": "^", "l1": "o", "bits_l1l2": "D", "budget": "*"}
    names = {"fixed": "fixed bits", "l1l2": "l1/l2 (the paper's)", "l1": "expected bits",
             "bits_l1l2": "expected bits x l1/l2", "budget": "latprof, to a budget"}  # fmt: skip
    for kind, marker in looks.items():
        rows = [m for m in methods if m["kind"] == kind]
        left.errorbar(
            [100 * m["file_of_float32"] for m in rows], [100 * m["accuracy"] for m in rows],
            [100 * m["accuracy_sd"] for m in rows], fmt=marker, capsize=2, label=names[kind],
        )  # fmt: skip
        if kind in ("l1", "bits_l1l2", "budget"):
            for m in rows:
                label = f"{names[kind]}, {m['value']:g}"
                right.plot(range(1, 5), np.mean(m["bits"], 0), marker=marker, label=label)
    floats = next(m for m in methods if m["kind"] == "float")
    left.axhline(
        100 * floats["accuracy"], color="grey", linewidth=1, linestyle="--", label="float32"
    )
    left.set(xlabel="file (% of the float32 file)", ylabel="test accuracy (%)", xscale="log")
    ticks = [8, 10, 15, 20, 30, 50]
    left.set_xticks(ticks, labels=[str(tick) for tick in ticks], minor=False)
    left.minorticks_off()
    right.set(xlabel="layer", ylabel="learned bits, mean of seeds", xticks=range(1, 5))
    right.set_yscale("log", base=2)
    for axes in (left, right):
        axes.legend(fontsize=7)
        axes.grid(alpha=0.3)
    return figure


def _options() -> argparse.Namespace:
    parser = study_parser(__doc__, "bit_widths.jsonl")
    parser.add_argument("--data", type=Path, default=cifar10.FOLDER)
    o = parser.parse_args()
    if not o.only_report and (lacking := cifar10.missing(o.data)):
        print(json.dumps({"skipped": lacking}))
        raise SystemExit
    return o


if __name__ == "__main__":
    main()
