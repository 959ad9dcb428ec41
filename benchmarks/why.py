"""Does ``latprof why`` name the cause first, and is what it predicts what is measured?

Files that are slow for one known reason each (those of the tests), and ordinary networks of the
zoo. Each advice is applied to a copy of the file and measured against it in turns. Rows that are
finished are kept in a file of JSON lines; the same command goes on after them.

    python benchmarks/why.py [--log results/why.jsonl]

The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import latprof

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
sys.path.insert(0, str(Path(__file__).parent))
from _json_rows import append_row, read_rows
from support.slow_files import SLOW_FILES

_LOG = Path(__file__).parent / "results" / "why.jsonl"
_ZOO = (
    "googlenet", "lstm", "mobilenet_v1", "mobilenet_v2", "mobilenet_v3_small", "resnet18",
    "shufflenet_v2", "squeezenet", "unet", "vit",
)  # fmt: skip
#: A prediction further than this from what is measured, of the latter, is wrong.
_NEAR = 0.25
#: A verdict on an ordinary file that promises more than this of the whole must keep half of it.
_MATTERS = 0.03


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--log", type=Path, default=_LOG)
    args = parser.parse_args()
    done = read_rows(args.log)
    finished = {row["file"] for row in done}
    with tempfile.TemporaryDirectory() as folder:
        for name in (*SLOW_FILES, *_ZOO):
            if name in finished:
                continue
            path = Path(folder) / f"{name}.onnx"
            if name in SLOW_FILES:
                SLOW_FILES[name][0](path)
            else:
                latprof.export(f"zoo:{name}", out=path)
            done.append(row(name, path))
            append_row(args.log, done[-1])
    print(json.dumps(summary(done)))


def row(name: str, path: Path) -> dict[str, Any]:
    start_s = time.monotonic()
    found = latprof.why(path, check=True)
    return {
        "file": name,
        "expected": SLOW_FILES[name][1] if name in SLOW_FILES else None,
        "latency_s": found.latency_s,
        "between": found.between_s / found.latency_s,
        "profiler": found.profiler_s / found.latency_s,
        "verdicts": [
            {
                "cause": verdict.cause,
                "words": verdict.words,
                "advice": verdict.advice,
                "predicted": verdict.saves_s / found.latency_s,
                "measured": verdict.checked.saves_s / found.latency_s,
                "error": verdict.checked.error_s / found.latency_s,
                "outputs": verdict.checked.max_rel_error,
            }
            for verdict in found.verdicts
            if verdict.checked is not None and verdict.saves_s is not None
        ],
        "wall_s": time.monotonic() - start_s,
    }


def summary(done: Sequence[dict[str, Any]]) -> dict[str, Any]:
    slow = [one for one in done if one["expected"]]
    first = [one["verdicts"][0] for one in slow if one["verdicts"]]
    named = [
        one["file"]
        for one in slow
        if one["verdicts"] and one["verdicts"][0]["cause"] == one["expected"]
    ]
    near = [v for v in first if abs(v["predicted"] - v["measured"]) <= _NEAR * abs(v["measured"])]
    false = [
        {"file": one["file"], **verdict}
        for one in done
        if not one["expected"]
        for verdict in one["verdicts"]
        if verdict["predicted"] > _MATTERS and verdict["measured"] < verdict["predicted"] / 2
    ]
    return {
        "benchmark": "why",
        "slow_files": len(slow),
        "cause_first": len(named),
        "predicted_within_25%": len(near),
        "ordinary_files": len(done) - len(slow),
        "false_verdicts_above_3%": false,
        "passed": len(named) == len(near) == len(slow) and not false,
    }


if __name__ == "__main__":
    main()
