"""Do two profiles of one machine agree?

Forty convolutions, six fresh shuffled profiles, one thread, ONNX Runtime and LiteRT. The figure is
(max - min) / median of a shape's latency over the six, its 90th percentile over the shapes. Beside
it stand what is usual elsewhere, from the same minutes: one process per profile, and of each shape
the mean (as nn-Meter has it) and the median of its first 50 runs.

    python benchmarks/repeatability.py [--profiles 6] [--shapes 40]

The last line is one JSON object. ``measuring_ms_per_shape`` is what the rows hold, sentinels
included; ``set_aside_ms_per_shape`` was read while others wanted the cores, and is 0 on a quiet
machine.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import math
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from latprof.devices import ScheduleSettings, open_device, profile
from latprof.workloads import Conv2d

_PACKAGES = {"onnxruntime": "onnxruntime", "tflite": "ai-edge-litert"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--profiles", type=int, default=6)
    parser.add_argument("--shapes", type=int, default=40)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--plain", help=argparse.SUPPRESS)
    args = parser.parse_args()
    shapes = draw_shapes(args.shapes, args.seed)
    if args.plain:
        print(json.dumps(plain_runs(args.plain, shapes)))
        return
    results = {r: compare(r, shapes, args.profiles) for r in _PACKAGES}
    worst = max(r["latprof"]["p90"] for r in results.values())
    dearest = max(r["measuring_ms_per_shape"] for r in results.values())
    print(
        json.dumps(
            {
                "benchmark": "repeatability",
                "shapes": args.shapes,
                "profiles": args.profiles,
                "seed": args.seed,
                "spread_p90_limit": 0.04,
                "measuring_ms_per_shape_limit": 75.0,
                "passed": worst <= 0.04 and dearest <= 75.0,
                "runtimes": results,
                "versions": {p: importlib.metadata.version(p) for p in _PACKAGES.values()},
                "python": sys.version.split()[0],
            }
        )
    )


def draw_shapes(count: int, seed: int) -> list[Conv2d]:
    """Convolutions as networks have them, of any c_out, up to 30 million MACs."""
    rng = random.Random(seed)
    shapes: list[Conv2d] = []
    while len(shapes) < count:
        shape = Conv2d(
            side := rng.choice([7, 14, 28]),
            side,
            rng.choice([16, 24, 40, 64, 96, 128, 240, 480]),
            rng.randint(8, 512),
            kernel=rng.choice([1, 1, 1, 3]),
        )
        if shape.macs < 30e6 and shape not in shapes:
            shapes.append(shape)
    return shapes


def compare(runtime: str, shapes: list[Conv2d], profiles: int) -> dict[str, Any]:
    ours, sure, slowdowns, means, medians, statuses = [], [], [], [], [], []
    costs_ms: list[dict[str, float]] = []
    start = time.monotonic()
    target = ""
    for number in range(profiles):
        with (
            tempfile.TemporaryDirectory() as folder,
            open_device("local", runtime=runtime) as device,
        ):
            target = str(device.target)
            journal = Path(folder) / "journal.jsonl"
            # The order of work is shuffled anew; rests on a busy machine are kept short.
            settings = ScheduleSettings(seed=number, pause_s=0.1)
            rows = list(profile(device, shapes, journal=journal, settings=settings))
            costs_ms.append({k: ms / len(shapes) for k, ms in measuring_ms(journal).items()})
        latency = {row.workload: row.latency_s for row in rows}
        ours.append([latency[shape] for shape in shapes])
        slowdowns.append(float(np.median([s for row in rows for s in row.slowdown])))
        ok = {row.workload for row in rows if row.status == "ok"}
        sure.append([latency[shape] if shape in ok else math.nan for shape in shapes])
        statuses += [row.status for row in rows]
        plain = plain_in_fresh_process(runtime, len(shapes))
        means.append([p["mean"] for p in plain])
        medians.append([p["median"] for p in plain])
        print(f"{runtime}: profile {number + 1} of {profiles}", file=sys.stderr)
    return {
        "target": target,
        "latprof": spread(ours),
        "latprof_ok_rows": spread(sure),  # of what is flagged, the flag says that it may not repeat
        "common_factors": common_factors(ours),
        "slowdowns": slowdowns,
        "mean_of_50": spread(means),
        "median_of_50": spread(medians),
        "measuring_ms_per_shape": max(cost["kept"] for cost in costs_ms),
        "set_aside_ms_per_shape": max(cost["set_aside"] for cost in costs_ms),
        "statuses": {s: statuses.count(s) for s in sorted(set(statuses))},
        "wall_s": time.monotonic() - start,
    }


def measuring_ms(journal: Path) -> dict[str, float]:
    """Warming up and timing in a journal, sentinels included: what the rows hold, and the rest."""
    lines = [json.loads(line) for line in journal.read_bytes().splitlines()]
    costs = [line["cost_s"] for line in lines if "reading" in line]
    rounds = sum(len(line["finished"]["samples_s"]) for line in lines if "finished" in line)
    kept_s = rounds * sum(costs) / len(costs)
    return {"kept": 1e3 * kept_s, "set_aside": 1e3 * (sum(costs) - kept_s)}


def spread(latency_s: list[list[float]]) -> dict[str, float]:
    """(max - min) / median over profiles, then over shapes: median, p90, max.

    NaN is no reading; a shape counts where at least two profiles have one; no figures without any.
    """
    table = np.array(latency_s)  # (profiles, shapes)
    table = table[:, np.isfinite(table).sum(0) >= 2]
    if not table.size:
        return {"shapes": 0}
    relative = (np.nanmax(table, 0) - np.nanmin(table, 0)) / np.nanmedian(table, 0)
    return {
        "shapes": int(relative.size),
        "median": float(np.median(relative)),
        "p90": float(np.percentile(relative, 90)),
        "max": float(relative.max()),
    }


def common_factors(latency_s: list[list[float]]) -> list[float]:
    """Per profile, by what all its rows lie off the profiles' median."""
    table = np.array(latency_s)
    return [float(f) for f in np.median(table / np.median(table, 0), 1)]


def plain_in_fresh_process(runtime: str, count: int) -> list[dict[str, float]]:
    command = [sys.executable, "-P", __file__, "--plain", runtime, "--shapes", str(count)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return list(json.loads(done.stdout.splitlines()[-1]))


def plain_runs(runtime: str, shapes: list[Conv2d]) -> list[dict[str, float]]:
    """Each shape's first 50 runs, in shuffled order, in this process."""
    if runtime == "onnxruntime":
        from latprof.devices.agent.runtimes import OnnxRuntime as Runtime
    else:
        from latprof.devices.agent.runtimes import TfliteRuntime as Runtime  # type: ignore[assignment]
    loaded, figures = Runtime(1), {}
    for shape in random.sample(shapes, len(shapes)):
        call, runs = loaded.workload(shape).call, []
        for _ in range(50):
            begin = time.perf_counter()
            call()
            runs.append(time.perf_counter() - begin)
        figures[shape] = {"mean": float(np.mean(runs)), "median": float(np.median(runs))}
    return [figures[shape] for shape in shapes]


if __name__ == "__main__":
    main()
