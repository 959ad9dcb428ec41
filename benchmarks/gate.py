"""Does ``latprof gate`` find a regression of 3%, and does it accuse an equal file?

A chain of 100 equal convolutions is compared with one of 103, and with a copy of itself, while a
busy process on the same cores comes and goes. Runs that are finished are kept in a file of JSON
lines; the same command goes on after them.

    python benchmarks/gate.py [--runs 40] [--ms 5] [--log results/gate.jsonl]

The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import latprof

sys.path.insert(0, str(Path(__file__).parent))
from _background_load import BackgroundLoad
from _json_rows import append_row, read_rows

#: Seconds without and with the load, each drawn evenly between these.
_OFF_S, _ON_S = (1.0, 6.0), (0.5, 4.0)
_CHAIN, _SLOWER = 100, 103
_LOG = Path(__file__).parent / "results" / "gate.jsonl"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=40)
    parser.add_argument("--ms", type=float, default=5.0, help="Of the model, about.")
    parser.add_argument("--log", type=Path, default=_LOG)
    args = parser.parse_args()
    done = read_rows(args.log)
    load = BackgroundLoad(lambda: random.uniform(*_OFF_S), lambda: random.uniform(*_ON_S))
    with tempfile.TemporaryDirectory() as folder, load:
        files = write_files(Path(folder), args.ms / 1e3)
        for number in range(len(done) // 2, args.runs):
            for case in ("slower", "equal")[len(done) % 2 :]:
                done.append({"run": number, "case": case, **judge(files[case], files["old"])})
                append_row(args.log, done[-1])
    print(json.dumps(summary(done)))


def judge(file: Path, old: Path) -> dict[str, Any]:
    """One run of the gate."""
    start_s = time.monotonic()
    found = latprof.gate(file, against=old)
    (check,) = found.checks
    return {
        "verdict": check.verdict,
        "slower": check.measured,
        "error": check.error,
        "confidence": check.confidence,
        "latency_s": found.latency_s,
        "rounds": found.comparison.taken,
        "rounds_used": check.rounds,
        "beside_load": found.comparison.beside_load,
        "wall_s": time.monotonic() - start_s,
    }


def summary(done: Sequence[dict[str, Any]]) -> dict[str, Any]:
    def share(case: str, verdict: str) -> float:
        verdicts = [run["verdict"] for run in done if run["case"] == case]
        return verdicts.count(verdict) / max(1, len(verdicts))

    found, accused = share("slower", "regression"), share("equal", "regression")
    longest_s = max(run["wall_s"] for run in done)
    return {
        "benchmark": "gate",
        "runs": len(done) // 2,
        "regressions_found": found,
        "found_limit": 0.95,
        "equal_accused": accused,
        "accused_limit": 0.02,
        "undecided": {case: share(case, "undecided") for case in ("slower", "equal")},
        "slower_median": float(np.median([r["slower"] for r in done if r["case"] == "slower"])),
        "latency_s": float(np.median([run["latency_s"] for run in done])),
        "longest_s": longest_s,
        "longest_limit_s": 60.0,
        "passed": found >= 0.95 and accused <= 0.02 and longest_s <= 60,
    }


def write_files(folder: Path, wanted_s: float) -> dict[str, Path]:
    """Chains whose maps are as large as makes the first one take about ``wanted_s``."""
    size = 16
    old = write_chain(folder / "old.onnx", _CHAIN, size)
    took_s = latprof.bench(old).latency_s
    size = max(8, round(size * (wanted_s / took_s) ** 0.5))
    write_chain(old, _CHAIN, size)
    equal = folder / "equal.onnx"
    shutil.copy(old, equal)
    return {
        "old": old,
        "equal": equal,
        "slower": write_chain(folder / "slower.onnx", _SLOWER, size),
    }


def write_chain(path: Path, count: int, size: int) -> Path:
    """``count`` 3x3 convolutions of 16 channels, each followed by a ReLU."""
    channels = 16
    weights = np.random.default_rng(0).normal(0, 0.1, (channels, channels, 3, 3))
    nodes, name = [], "x"
    for i in range(count):
        nodes.append(helper.make_node("Conv", [name, f"w{i}"], [f"c{i}"], pads=[1, 1, 1, 1]))
        nodes.append(helper.make_node("Relu", [f"c{i}"], [name := f"r{i}"]))
    shape = [1, channels, size, size]
    graph = helper.make_graph(
        nodes,
        "chain",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(weights.astype(np.float32), f"w{i}") for i in range(count)],
    )
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)
    return path


if __name__ == "__main__":
    main()
