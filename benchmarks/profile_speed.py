"""How long does a 200-shape plan take? Half 1x1 convolutions, half matmuls, through each runtime.

    python benchmarks/profile_speed.py [--shapes 200]

Progress goes to stderr; the last line of stdout is one JSON object. The limit is three minutes.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import random
import sys
import time
from typing import Any

from latprof.devices import Event, open_device, profile
from latprof.workloads import Conv2d, MatMul, Workload

_LIMIT_S = 180.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shapes", type=int, default=200)
    parser.add_argument("--seed", type=int, default=11)
    args = parser.parse_args()
    plan = draw_plan(args.shapes, args.seed)
    results = {runtime: timed(runtime, plan) for runtime in ("onnxruntime", "tflite")}
    print(
        json.dumps(
            {
                "benchmark": "profile_speed",
                "shapes": len(plan),
                "seed": args.seed,
                "wall_s_limit": _LIMIT_S,
                "passed": all(r["wall_s"] <= _LIMIT_S for r in results.values()),
                "runtimes": results,
                "versions": {
                    p: importlib.metadata.version(p) for p in ("onnxruntime", "ai-edge-litert")
                },
                "python": sys.version.split()[0],
            }
        )
    )


def draw_plan(count: int, seed: int) -> list[Workload]:
    """Shapes as MobileNets and small transformers have them, thinned to any width."""
    rng = random.Random(seed)
    plan: dict[Workload, None] = {}
    while len(plan) < count:
        if len(plan) % 2:
            k, n = rng.randint(16, 1024), rng.randint(16, 1024)
            plan[MatMul(rng.choice([1, 49, 196]), k, n)] = None
        else:
            side = rng.choice([7, 14, 28, 56])
            widest = 20_000 // side
            plan[Conv2d(side, side, rng.randint(8, widest), rng.randint(8, widest // 2))] = None
    return list(plan)


def timed(runtime: str, plan: list[Workload]) -> dict[str, Any]:
    shown = time.monotonic()

    def show(event: Event) -> None:
        nonlocal shown
        if time.monotonic() - shown > 1.0:
            shown = time.monotonic()
            left = f"{event.done}/{event.total}, {event.eta_s:.0f} s left"
            print(f"\r{runtime}: {event.fraction:.0%}, {left}   ", end="", file=sys.stderr)

    start = time.monotonic()
    with open_device("local", runtime=runtime) as device:
        rows = list(profile(device, plan, on_event=show))
        target = str(device.target)
    wall_s = time.monotonic() - start
    print(file=sys.stderr)
    statuses = [row.status for row in rows]
    return {
        "target": target,
        "wall_s": wall_s,
        "statuses": {s: statuses.count(s) for s in sorted(set(statuses))},
        "longest_op_s": max(row.latency_s for row in rows),
    }


if __name__ == "__main__":
    main()
