"""This machine's other targets from ten chosen shapes and its own table of one.

    python -P benchmarks/transfer_here.py FOLDER [--model zoo:mobilenet_v3_small] [--shapes 10]

The donor is a table of ONNX Runtime with one thread, 200 shapes: FOLDER/donor.parquet, made where
there is none. Put an older version's there for what a new version takes. For each other target, ten
shapes are measured with ``profile(donors=...)``, and 120 others say how far off the rest is: with
the donor, and by the ten rows alone. What is measured is not measured again. The last line of
stdout is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np

import latprof
from latprof.surrogate import fit
from latprof.tables import LatencyTable

TARGETS: dict[str, dict[str, Any]] = {
    "onnxruntime, 1 thread": {"runtime": "onnxruntime", "threads": 1},
    "onnxruntime, 2 threads": {"runtime": "onnxruntime", "threads": 2},
    "tflite, 1 thread": {"runtime": "tflite", "threads": 1},
    "torch, 1 thread": {"runtime": "torch", "threads": 1},
}
DONOR_SHAPES, OTHERS = 200, 120


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default="zoo:mobilenet_v3_small")
    parser.add_argument("--shapes", type=int, default=10)
    parser.add_argument("--targets", nargs="*", default=list(TARGETS)[1:], choices=TARGETS)
    o = parser.parse_args()
    o.folder.mkdir(parents=True, exist_ok=True)
    donor = o.folder / "donor.parquet"
    if not donor.exists():
        latprof.profile("local", o.model, donor, shapes=DONOR_SHAPES)
    found = {name: of_target(name, o, donor) for name in o.targets}
    print(json.dumps({"benchmark": "transfer_here", "model": o.model, "targets": found}))


def of_target(name: str, o: argparse.Namespace, donor: Path) -> dict[str, Any]:
    stem = name.replace(", ", "-").replace(" ", "-")
    few, many = (o.folder / f"{stem}-{part}.parquet" for part in ("few", "others"))
    start = time.monotonic()
    new = not few.exists()
    latprof.profile("local", o.model, few, shapes=o.shapes, donors=[donor], **TARGETS[name])
    took_s = time.monotonic() - start
    table = LatencyTable.load(few)
    fit(table)
    with_fit_s = time.monotonic() - start
    latprof.profile("local", o.model, many, shapes=OTHERS, seed=1, **TARGETS[name])
    known = {m.workload for m in table.usable}
    rows = [m for m in LatencyTable.load(many).usable if m.workload not in known]
    result: dict[str, Any] = {"rows": len(known), "others": len(rows)}
    if new:
        result |= {"profile_s": took_s, "with_fit_s": with_fit_s}
    truth_s = np.array([m.latency_s for m in rows])
    for how, used in (("donor", table), ("alone", table.with_donors([]))):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a donor that does not help: the figures say so
            predicted = fit(used).predict([m.workload for m in rows])
        inside = (predicted.lower_s <= truth_s) & (truth_s <= predicted.upper_s)
        result[how] = {
            "mape": float(np.abs(predicted.latency_s / truth_s - 1).mean()),
            "of_all_time": float(predicted.latency_s.sum() / truth_s.sum() - 1),
            "covered": float(inside.mean()),
        }
    print(name, result, file=sys.stderr)
    return result


if __name__ == "__main__":
    main()
