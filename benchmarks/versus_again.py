"""The networks that versus.py left in a FOLDER, timed again: all of a cell in turns.

    python -P benchmarks/versus_again.py FOLDER

Rows of FOLDER/runs.jsonl whose files are there get ``again_share_of_budget``, beside what the run
itself ended with: how far apart two days' timings of one network are. Of two rows that would have
the same files the later one is meant.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

from latprof.devices import compare_files, open_device


def time_again(folder: Path) -> None:
    path = folder / "runs.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    cells: dict[tuple[str, int, int], dict[str, dict[str, Any]]] = defaultdict(dict)
    for row in rows:
        if _thin(folder, row).is_file():
            cells[row["model"], row["budget"], row["seed"]][row["method"]] = row
    with open_device("local", runtime="onnxruntime", threads=1) as device:
        for cell, by_method in cells.items():
            some = list(by_method.values())
            files = [_thin(folder, row) for row in some]
            files.insert(0, files[0].with_name("original.onnx"))
            ratios = compare_files(device, files)[1:]
            for row, ratio in zip(some, ratios, strict=True):
                row["again_share_of_budget"] = 100 * ratio / row["budget"]
            print(*cell, [round(r, 4) for r in ratios], file=sys.stderr, flush=True)
            part = path.with_suffix(".part")
            part.write_text("".join(json.dumps(row) + "\n" for row in rows))
            part.replace(path)


def _thin(folder: Path, row: dict[str, Any]) -> Path:
    return folder / "{model}/{budget}-{seed}-{method}/thin.onnx".format(**row)


if __name__ == "__main__":
    time_again(Path(sys.argv[1]))
