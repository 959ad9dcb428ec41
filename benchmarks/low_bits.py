"""Weights of few bits: how well rows off the grid are predicted, and what a profile of them takes.

    python -P benchmarks/low_bits.py FOLDER [--shapes 200] [--held-out 40] [--bits 4,8]

Linear layers of a small transformer (384 to 1,536 features) over 1, 2, 4 and 8 rows, ONNX Runtime,
one thread. FOLDER/rows.jsonl has one row per finished step, and the same call goes on where it was
stopped:

``profile``: seconds of a profile with bits and of one without, each into a table of its own;
``held_out``: of a fit to the former, the mean absolute percentage error of shapes that were drawn
at random and measured in another profile, by kind and rows, and the part within 10%.

The errors asked for are at most 8%, and the profile with bits at most 1.5 times as long.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn, zeros

sys.path.insert(0, str(Path(__file__).parent))
from _json_rows import append_row, read_rows

import latprof
from latprof.devices import open_device, profile
from latprof.tables import LatencyTable
from latprof.workloads import MatMul

_ROWS = (1, 2, 4, 8)
_FEATURES, _HIDDEN = 384, 1536


def encoder() -> tuple[nn.Module, tuple[Tensor, ...]]:
    """The linear layers of one block."""
    sizes = [(_FEATURES, _FEATURES), (_FEATURES, _HIDDEN), (_HIDDEN, _FEATURES)]
    layers: list[nn.Module] = []
    for k, n in sizes:
        layers += [nn.Linear(k, n), nn.ReLU()]
    return nn.Sequential(*layers), (zeros(1, _FEATURES),)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--shapes", type=int, default=200)
    parser.add_argument("--held-out", type=int, default=40)
    parser.add_argument("--bits", default="4,8")
    args = parser.parse_args()
    bits = tuple(int(part) for part in args.bits.split(","))
    args.folder.mkdir(parents=True, exist_ok=True)
    out = args.folder / "rows.jsonl"
    done = {(row["step"], row.get("bits")) for row in read_rows(out)}
    for text, widths in (("", ()), (args.bits, bits)):
        if ("profile", text) not in done:
            append_row(out, profiled(args.folder, text, widths, args.shapes))
    if ("held_out", args.bits) not in done:
        for row in held_out(args.folder, args.bits, bits, args.held_out):
            append_row(out, row)
    for row in read_rows(out):
        print(row)


def profiled(folder: Path, text: str, bits: tuple[int, ...], shapes: int) -> dict[str, Any]:
    path = folder / f"table{text.replace(',', '_')}.parquet"
    for rest in folder.glob(f"{path.name}*"):  # of a step that was stopped: it would be too short
        rest.unlink()
    start = time.monotonic()
    (result,) = latprof.profile(
        "local", f"{Path(__file__).resolve()}:encoder", path, shapes=shapes, batch=_ROWS, bits=bits
    )
    wall_s = time.monotonic() - start
    rows = len(result.table)
    return {"step": "profile", "bits": text, "rows": rows, "wall_s": wall_s, **result.status}


def held_out(folder: Path, text: str, bits: tuple[int, ...], count: int) -> list[dict[str, Any]]:
    table = LatencyTable.load(folder / f"table{text.replace(',', '_')}.parquet")
    known = {m.workload for m in table.measurements}
    dice = random.Random(1)
    shapes: dict[MatMul, None] = {}
    while len(shapes) < count * len(bits):
        m, k, n = dice.choice(_ROWS), dice.randint(16, _HIDDEN), dice.randint(16, _HIDDEN)
        made = [MatMul(1, k, n, batch=m, weight_bits=b) for b in (0, *bits)]
        if not known & set(made):
            shapes.update(dict.fromkeys(made))
    with open_device("local") as device:
        found = profile(device, list(shapes), journal=folder / "held_out.journal")
        rows = [row for row in found if row.usable]
    LatencyTable(table.target, tuple(rows)).save(folder / "held_out.parquet")
    predicted_s = latprof.fit(table).predict([row.workload for row in rows]).latency_s
    errors = predicted_s / np.array([row.latency_s for row in rows]) - 1
    results = []
    for label in dict.fromkeys(row.workload.label for row in rows):
        for batch in (0, *_ROWS):  # 0: all
            mine = [
                e
                for e, row in zip(errors, rows, strict=True)
                if row.workload.label == label and batch in (0, row.workload.batch)
            ]
            if mine:
                each = np.abs(mine)
                figures = {"mape": float(each.mean()), "within_10": float((each < 0.1).mean())}
                kind = {"step": "held_out", "bits": text, "label": label, "rows": batch}
                results.append({**kind, "shapes": len(mine), **figures})
    return results


if __name__ == "__main__":
    main()
