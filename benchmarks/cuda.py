"""Measurements that need an NVIDIA GPU: kernels against cuBLAS, the flush, repeatability, speed.

    python -P benchmarks/cuda.py [--device cuda:0] [--out FOLDER] [--shapes 1000]

Progress goes to stderr; the last line of stdout is one JSON object, with each limit and whether it
held. Without a GPU it says so and measures nothing. With --out, the tables of MobileNetV3-Large at
batch 1 and 64, through torch, are written there.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from latprof.devices import open_device, profile
from latprof.devices.agent.cuda import flush_bytes
from latprof.errors import LatprofError, UnknownDeviceError
from latprof.models import at_batch, model_workloads
from latprof.pipeline import profile_into
from latprof.workloads import Conv2d, MatMul, Workload

_LIMITS = {
    "float32_of_cublas": 0.50,
    "float16_of_cublas": 0.40,
    "cv_p90": 0.01,
    "thousand_shapes_s": 600.0,
}
_SIDE = 4096
_RUNS, _REPEATED, _SHORT_S = 5, 50, 5e-6
_BATCHES = (1, 64)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--shapes", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=9)
    args = parser.parse_args()
    try:
        with open_device(args.device, runtime="cuda") as device:
            target, environment = device.target.to_dict(), device.environment()
    except UnknownDeviceError as exc:
        print(json.dumps({"benchmark": "cuda", "skipped": str(exc)}))
        return
    product = against_cublas(args.device)
    flush = flushed(args.device, environment["gpu"]["l2_bytes"])
    repeat = repeatability(args.device, args.seed)
    speed = shapes_per_minute(args.device, args.shapes, args.seed)
    held = {
        "float32_of_cublas": product["float32"]["of_cublas"] >= _LIMITS["float32_of_cublas"],
        "float16_of_cublas": product["float16"]["of_cublas"] >= _LIMITS["float16_of_cublas"],
        "flush": flush["holds"],
        "cv_p90": repeat["cv_p90"] <= _LIMITS["cv_p90"] and repeat["under_5_us"] > 0,
        "thousand_shapes_s": speed["thousand_shapes_s"] <= _LIMITS["thousand_shapes_s"],
    }
    result = {
        "benchmark": "cuda", "target": target, "environment": environment, "seed": args.seed,
        "limits": _LIMITS, "held": held, "passed": all(held.values()), "matmul": product,
        "flush": flush, "repeatability": repeat, "speed": speed,
        "networks": networks(args.device, args.out, args.seed), "python": sys.version.split()[0],
    }  # fmt: skip
    print(json.dumps(result))


def latencies_s(device: str, workloads: list[Workload], **settings: Any) -> dict[Workload, float]:
    with open_device(device, runtime="cuda", **settings) as opened:
        rows = {row.workload: row for row in profile(opened, workloads)}
    for row in rows.values():
        if row.status != "ok":
            print(f"{row.workload}: {row.status} ({row.detail})", file=sys.stderr)
    return {workload: row.latency_s for workload, row in rows.items() if row.samples_s}


def against_cublas(device: str) -> dict[str, Any]:
    """The project's kernels at 4096^3, as a share of cuBLAS's speed (which adds no bias)."""
    product = MatMul(_SIDE, _SIDE, _SIDE)
    found = {}
    for precision in ("float32", "float16"):
        own_s, cublas_s = (
            latencies_s(device, [product], kernels=kernels, precision=precision)[product]
            for kernels in ("own", "cublas")
        )
        found[precision] = {
            "own_s": own_s,
            "cublas_s": cublas_s,
            "of_cublas": cublas_s / own_s,
            "own_tflops": 2 * product.macs / own_s / 1e12,
        }
        print(f"matmul {precision}: {cublas_s / own_s:.0%} of cuBLAS", file=sys.stderr)
    return found


def flushed(device: str, l2_bytes: int) -> dict[str, Any]:
    """Cold over hot for matrices read once: slower where they fit in L2, else equal."""
    shares = {share: int((share * l2_bytes / 4) ** 0.5) // 8 * 8 for share in (0.05, 0.1, 0.25, 16)}
    workloads: list[Workload] = [MatMul(1, side, side) for side in shares.values()]
    hot, cold = (latencies_s(device, workloads, cache=cache) for cache in ("hot", "cold"))
    ratios = {
        str(share): cold[w] / hot[w]
        for share, w in zip(shares, workloads, strict=True)
        if w in cold
    }
    holds = len(ratios) == len(shares) and flush_bytes(l2_bytes) >= 2 * l2_bytes
    holds = holds and ratios["0.25"] > 1.15 and 0.9 < ratios["16"] < 1.15
    touched = flush_bytes(l2_bytes)
    print(f"flush: cold over hot by share of L2 {ratios}", file=sys.stderr)
    return {"l2_bytes": l2_bytes, "touched_bytes": touched, "cold_over_hot": ratios, "holds": holds}


def repeatability(device: str, seed: int) -> dict[str, Any]:
    """The coefficient of variation of 50 shapes over five profiles."""
    shapes = draw(_REPEATED, seed)
    runs = [latencies_s(device, shapes) for _ in range(_RUNS)]
    values = np.array([[run.get(w, np.nan) for w in shapes] for run in runs])  # (run, shape)
    cv = np.std(values, axis=0, ddof=1) / np.mean(values, axis=0)
    lost = int(np.isnan(cv).sum())
    p90 = float(np.nanpercentile(cv, 90)) if lost < len(shapes) else float("inf")
    short = int((np.nanmedian(values, axis=0) < _SHORT_S).sum())
    print(f"repeatability: p90 of {p90:.2%}, {short} shapes under 5 us", file=sys.stderr)
    return {"cv_p90": p90, "cv_median": float(np.nanmedian(cv)), "shapes": len(shapes),
            "runs": _RUNS, "under_5_us": short, "not_usable": lost}  # fmt: skip


def shapes_per_minute(device: str, count: int, seed: int) -> dict[str, Any]:
    shapes = draw(count, seed + 1)
    begin = time.perf_counter()
    usable = len(latencies_s(device, shapes))
    wall_s = time.perf_counter() - begin
    print(f"speed: {count} shapes in {wall_s:.0f} s", file=sys.stderr)
    return {"shapes": count, "usable": usable, "wall_s": wall_s,
            "shapes_per_minute": 60 * count / wall_s,
            "thousand_shapes_s": 1000 * wall_s / count}  # fmt: skip


def networks(device: str, out: Path | None, seed: int) -> dict[str, Any]:
    """MobileNetV3-Large's ops through torch: the sum of their latencies, and inputs per second."""
    if importlib.util.find_spec("torch") is None:
        return {"skipped": "torch is not installed"}
    full = model_workloads("zoo:mobilenet_v3_large")
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for batch in _BATCHES:
            name = f"mobilenet_v3_large-b{batch}.parquet"
            workloads = at_batch(full, batch)
            try:
                with open_device(device, runtime="torch") as opened:
                    table = profile_into(
                        (out or Path(scratch)) / name, opened, workloads, n_shapes=300, seed=seed
                    )
            except LatprofError as exc:
                return {"skipped": str(exc)}
            latency = {row.workload: row.latency_s for row in table.usable}
            missing = [w for w in workloads if w not in latency]
            total_s = sum(latency[w] for w in workloads if w in latency)
            found[str(batch)] = {"ops": len(workloads), "ops_not_usable": len(missing),
                                 "sum_s": total_s, "inputs_per_s": batch / total_s,
                                 "target": str(table.target)}  # fmt: skip
    return found


def draw(count: int, seed: int) -> list[Workload]:
    """Shapes as MobileNets and small transformers have them, from tiny to large."""
    rng = random.Random(seed)
    plan: dict[Workload, None] = {}
    while len(plan) < count:
        batch = rng.choice([1, 1, 8, 64])
        if len(plan) % 3 == 0:
            plan[MatMul(rng.choice([1, 49, 196]), rng.randint(16, 2048), rng.randint(16, 2048))] = (
                None
            )
        elif len(plan) % 3 == 1:
            side = rng.choice([7, 14, 28, 56])
            plan[Conv2d(side, side, rng.randint(8, 960), rng.randint(8, 960), batch=batch)] = None
        else:
            side, c = rng.choice([7, 14, 28, 56]), rng.randint(8, 960)
            kernel = rng.choice([3, 5])
            plan[Conv2d(side, side, c, c, kernel=kernel, groups=c, batch=batch)] = None
    return list(plan)


if __name__ == "__main__":
    main()
