"""What a 200-shape plan costs on a phone, and whether its rows are those of the interpreter.

    python benchmarks/phones.py [--shapes 200] [--model zoo:mobilenet_v3_large] [--backend direct]

There is no phone: the tests' stand-in adbd runs each benchmark_model in a process of its own,
through the LiteRT interpreter installed here. What is compared is ``profile local --runtime
tflite``, which measures the same shapes through the same interpreter. Needs the repository's tests/
folder. Progress goes to stderr; the last line of stdout is one JSON object.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from latprof.devices import Device, Event, SentinelTimes, open_device, profile
from latprof.models import model_workloads
from latprof.tables import plan

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from support.adbd import Phone, elf

_EDGES_S = (1e-6, 5e-6)  # what a call costs besides its op weighs on the short ones


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shapes", type=int, default=200)
    parser.add_argument("--model", default="zoo:mobilenet_v3_large")
    parser.add_argument("--backend", choices=("direct", "server"), default="direct")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    shapes = plan(
        model_workloads(args.model), method="spread", n_shapes=args.shapes, seed=args.seed
    )
    with tempfile.TemporaryDirectory() as folder, Phone(Path(folder) / "phone") as phone:
        tool = Path(folder) / "benchmark_model"
        tool.write_bytes(elf())
        with open_device(
            f"adb:{phone.serial}", runtime="tflite", backend=args.backend,
            key=f"{folder}/adbkey", benchmark_model=str(tool),
        ) as device:  # fmt: skip
            there, wall_s = measured(device, shapes)
            environment = device.environment()
            target = str(device.target)
    with open_device("local", runtime="tflite") as local:
        local.baseline = SentinelTimes()  # the stand-in's is that of its own run, too
        here, local_wall_s = measured(local, shapes)
        machine, dispatch_s = local.target.device, local.environment()["dispatch_s"]
    ratios = {w: there[w] / here[w] for w in there if w in here}
    low, high = _EDGES_S
    by_size = {
        "under_1us": [r for w, r in ratios.items() if here[w] < low],
        "1_to_5us": [r for w, r in ratios.items() if low <= here[w] < high],
        "over_5us": [r for w, r in ratios.items() if here[w] >= high],
    }
    print(
        json.dumps(
            {
                "benchmark": "phones",
                "target": target,
                "shapes": len(shapes),
                "usable": len(there),
                "wall_s": wall_s,
                "device_s": environment["device_s"],
                "pushes": environment["pushes"],
                "call_overhead_s": environment["call_overhead_s"],
                "ratio_to_local": {size: spread(some) for size, some in by_size.items()},
                "baseline": {
                    "device": "local",
                    "wall_s": local_wall_s,
                    "usable": len(here),
                    "call_overhead_s": dispatch_s,
                },
                "model": args.model,
                "seed": args.seed,
                "versions": {
                    name: importlib.metadata.version(name)
                    for name in ("ai-edge-litert", "adb-shell", "adbutils")
                },
                "machine": machine,
            }
        )
    )


def measured(device: Device, shapes: list[Any]) -> tuple[dict[Any, float], float]:
    """Latency of each usable shape, and how long all of it took."""
    start_s = time.monotonic()

    def tell(event: Event) -> None:
        if event.kind == "finished" and event.done % 20 == 0:
            print(f"{device.target.device}: {event.done}/{event.total}", file=sys.stderr)

    rows = list(profile(device, shapes, on_event=tell))
    latency_s = {row.workload: row.latency_s for row in rows if row.usable}
    return latency_s, round(time.monotonic() - start_s, 1)


def spread(ratios: list[float]) -> dict[str, float]:
    if not ratios:
        return {"n": 0}
    p10, p50, p90 = np.percentile(ratios, [10, 50, 90])
    return {"n": len(ratios), "p10": round(p10, 3), "median": round(p50, 3), "p90": round(p90, 3)}


if __name__ == "__main__":
    main()
