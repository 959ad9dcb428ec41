"""Every building block alone and combined on FashionMNIST: objective reached, hardened exactly.

    python -P benchmarks/blocks.py FOLDER [--images 20000] [--epochs 1] [--seeds 3]

One original per seed (MobileNetV3-Small); from it each choice of blocks is trained to a budget, the
masks fixed half way, the rest fine-tuning; pruning to a small budget also by each count, which is
what the default rests on. Told of each: the figure reached over the budget, test
accuracy of the hardened network, and how far the hardened network is from the masked one and the
exported ONNX file from the hardened one (relative). Finished runs are kept in FOLDER and not made
again. The last line of stdout is one JSON object.
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from latprof.compress import (
    Block,
    Compressor,
    Depth,
    Distillation,
    LowRank,
    Prune,
    Quantize,
    Sparse,
    TrainSettings,
    accuracy,
    export,
    train,
)
from latprof.compress.space import COUNTS
from latprof.pipeline import agreement, answer_of_file
from latprof.zoo import fashion_mnist, mobilenet_v3_small

RUNS: dict[str, tuple[str, tuple[Block, ...]]] = {
    "prune": ("macs=50%", (Prune(),)),
    "depth": ("macs=70%", (Depth(),)),
    "prune + depth": ("macs=30%", (Prune(), Depth())),
    "low rank": ("macs=65%", (LowRank(),)),
    "prune + low rank": ("macs=50%", (Prune(), LowRank())),
    "sparse": ("params=30%", (Sparse(),)),
    "sparse 4x1": ("params=30%", (Sparse(pattern="4x1", layers=("*",)),)),
    "prune + 2:4": ("macs=50%", (Prune(), Sparse(pattern="2:4"))),
    "prune + sparse": ("bytes=20%", (Prune(), Sparse())),
    "quantize": ("bytes=14%", (Quantize(),)),
    "prune + quantize": ("bytes=10%", (Prune(), Quantize())),
    "prune + sparse + quantize": ("bytes=8%", (Prune(), Sparse(), Quantize())),
    **{f"prune by {count}": ("macs=15%", (Prune(count=count),)) for count in COUNTS},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--epochs", type=int, default=1, help="of the masks, and of fine-tuning")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--runs", nargs="+", choices=RUNS, default=list(RUNS))
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    batches, test = fashion_mnist(images=args.images)
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in ("original", *args.runs)}
    for seed in range(args.seeds):
        original = originally(args.folder, seed, batches)
        rows["original"].append({"accuracy": accuracy(original, *test)})
        for name in args.runs:
            kept = args.folder / f"{name.replace(' ', '_')}-{seed}.json"
            if not kept.is_file():
                row = run(args, name, seed, original, batches, test)
                kept.write_text(json.dumps(row) + "\n")
            rows[name].append(json.loads(kept.read_text()))
            print(f"seed {seed}, {name}: {rows[name][-1]}", file=sys.stderr)
    told = {
        name: {key: float(np.mean([r[key] for r in found])) for key in found[0]}
        | {"accuracy_sd": float(np.std([r["accuracy"] for r in found]))}
        for name, found in rows.items()
    }
    worst = max(r[k] for n in args.runs for r in rows[n] for k in ("masked_hard", "hard_onnx"))
    within = all(r["reached"] <= 1 for n in args.runs for r in rows[n])
    print(
        json.dumps(
            {
                "benchmark": "blocks",
                "images": args.images,
                "epochs": args.epochs,
                "seeds": args.seeds,
                "mean": told,
                "budgets": {name: RUNS[name][0] for name in args.runs},
                "largest_error": worst,
                "passed": within and worst <= 1e-5,
                "versions": {"torch": version("torch"), "onnxruntime": version("onnxruntime")},
            }
        )
    )


def originally(folder: Path, seed: int, batches: Any) -> torch.nn.Module:
    path = folder / f"original-{seed}.pt"
    torch.manual_seed(seed)
    model, _ = mobilenet_v3_small()
    if path.is_file():
        model.load_state_dict(torch.load(path, weights_only=True))
    else:
        train(model, batches, TrainSettings(3), seed=seed)
        torch.save(model.state_dict(), path)
    return model.eval()


def run(
    args: argparse.Namespace,
    name: str,
    seed: int,
    original: torch.nn.Module,
    batches: Any,
    test: Any,
) -> dict[str, Any]:
    budget, blocks = RUNS[name]
    _, example = mobilenet_v3_small()
    comp = Compressor(
        copy.deepcopy(original), example, None, budget,
        blocks=blocks, steps=args.epochs * len(batches),
    )  # fmt: skip
    teacher = Distillation(copy.deepcopy(original).requires_grad_(False))
    train(comp, batches, TrainSettings(2 * args.epochs, lr=2e-3), distillation=teacher, seed=seed)
    comp.eval()
    small = comp.shrink()
    file = export(small, example, args.folder / f"{name.replace(' ', '_')}-{seed}.onnx")
    (goal,) = comp.goals.each
    images = test[0][:1000]
    return {
        "accuracy": accuracy(small, *test),
        "reached": goal.cost.exact(comp.counts()) / goal.limit,
        "masked_hard": agreement(comp, small, images),
        "hard_onnx": agreement(small, answer_of_file(file), images),
        "zeros": sum(int((p == 0).sum()) for p in small.parameters())
        / sum(p.numel() for p in small.parameters()),
    }


if __name__ == "__main__":
    main()
