"""Files within a tenth of the original's bytes: their size, and the accuracy that is left.

    python -P benchmarks/bytes_budget.py FOLDER --data DIR      everything; a table last
    python -P benchmarks/bytes_budget.py FOLDER --networks mobilenet_v3_small   needs no DIR
    python -P benchmarks/bytes_budget.py FOLDER --only-report   what is there

A network is trained once per seed. From there each set of blocks meets the budget by the ONNX file
that it writes. Beside it stand the original's file, what gzip -9 makes of it, and the file in
float16. Every run is one line of the rows and is not run again. DIR has cifar10_train.parquet and
cifar10_test.parquet.
"""

# ruff: noqa: E402  # how a process trains is set before torch is imported
from __future__ import annotations

import argparse
import functools
import sys
import time
from pathlib import Path
from typing import Any

from latprof.pipeline import prepare_for_training

prepare_for_training("the study")  # before torch is imported

import pandas as pd
from torch.utils.data import TensorDataset

sys.path.insert(0, str(Path(__file__).parent))
from _choosing import Original, run_cells, with_networks
from _json_rows import read_rows, study_parser

from latprof import Prune, Quantize, Sparse, compress
from latprof.compress import Block, export, trace
from latprof.devices import open_device
from latprof.pipeline import profile_into

#: A run has a table, although this budget asks nothing of it.
_SHAPES = 160
BLOCKS: dict[str, tuple[Block, ...]] = {
    "prune": (Prune(),),
    "quantize": (Quantize(),),
    "prune and quantize": (Prune(), Quantize()),
    "prune, sparse and quantize": (Prune(), Sparse(), Quantize()),
}


def main() -> None:
    o = _options()
    if not o.only_report:
        axes = {"budget": o.budgets, "blocks": o.blocks}
        run_cells(o, axes, functools.partial(run, o.folder))
    print(report(read_rows(o.rows)))


def run(folder: Path, original: Original, budget: str, blocks: str) -> dict[str, Any]:
    start = time.monotonic()
    network, seed = original.cell["network"], original.cell["seed"]
    name = f"{network}-{seed}-{budget}-{blocks}".replace(", ", "-").replace(" ", "-")
    result = compress(
        original.model,
        original.example,
        TensorDataset(original.batches.images, original.batches.labels),
        TensorDataset(*original.test),
        table=str(table_of(folder, original)),
        out=str(folder / name),
        budget=budget,
        blocks=list(BLOCKS[blocks]),
        masks=original.study.choosing,
        fine_tune=original.study.after,
        batch=original.batches.batch,
        seed=seed,
        why=False,
    )
    half = export(
        original.model, original.example, folder / name / "half.onnx", pack=True, float16=True
    )
    before, after = result.original, result.compressed
    figures = {"bytes": after.bytes, "gzip": after.gzip_bytes, "half": half.stat().st_size}
    figures |= {"original_bytes": before.bytes, "original_gzip": before.gzip_bytes}
    return figures | {
        "accuracy": after.accuracy,
        "original_accuracy": before.accuracy,
        "met": result.met,
        "wall_s": time.monotonic() - start,
    }


def table_of(folder: Path, original: Original) -> Path:
    path = folder / f"{original.cell['network']}.parquet"
    if not path.exists():
        graph = trace(original.model, original.example)
        with open_device("local", runtime="onnxruntime", threads=1) as device:
            profile_into(path, device, graph.workloads(), n_shapes=_SHAPES)
    return path


def report(rows: list[dict[str, Any]]) -> str:
    """Sizes as shares of the original's file and accuracies: means over seeds, and the worst."""
    if not rows:
        return "no rows"
    table = pd.DataFrame(rows)
    shares = ["bytes", "gzip", "half", "original_gzip"]
    table[shares] = table[shares].div(table["original_bytes"], axis=0)
    table["lost"] = 100 * (table["original_accuracy"] - table["accuracy"])
    by = table.groupby(["network", "budget", "blocks"], sort=False)
    means = by[["original_bytes", *shares, "original_accuracy", "accuracy", "lost"]].mean()
    means["most_bytes"], means["most_lost"] = by["bytes"].max(), by["lost"].max()
    means["met"], means["seeds"] = by["met"].sum(), by["seed"].nunique()
    return str(means.round(4).T.to_string())


def _options() -> argparse.Namespace:
    parser = study_parser(__doc__, "bytes_budget.jsonl")
    parser.add_argument("--budgets", nargs="*", default=["bytes=10%"])
    parser.add_argument("--blocks", nargs="*", default=list(BLOCKS), choices=BLOCKS)
    return with_networks(parser, ["mobilenet_v3_small", "resnet20"])


if __name__ == "__main__":
    main()
