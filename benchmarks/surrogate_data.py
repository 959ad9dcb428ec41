"""What the accuracy benchmark measures: 1x1 convolutions and matmuls, for training and held out.

python -P benchmarks/surrogate_data.py RUNTIME OP FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from latprof.devices import Device, open_device, profile
from latprof.surrogate import measure_adaptively
from latprof.tables import AdaptivePlan, Family, LatencyTable, families_of, plan
from latprof.workloads import Conv2d, MatMul, Workload

#: Largest counts at each resolution, as in MobileNetV3-Large's 1x1 convolutions; and a
#: transformer's and a classifier's matmuls.
OPS: dict[str, list[Workload]] = {
    "conv1x1": [Conv2d(7, 7, 960, 960), Conv2d(14, 14, 672, 672), Conv2d(28, 28, 240, 240),
                Conv2d(56, 56, 128, 128)],
    "matmul": [MatMul(1, 1024, 1024), MatMul(16, 1024, 1024), MatMul(64, 1024, 1024),
               MatMul(197, 768, 768)],
}  # fmt: skip
RUNTIMES = ("onnxruntime", "tflite")
N_TRAIN, N_HELD_OUT = 200, 256
HELD_OUT_SEED = 31_337


def held_out(families: list[Family], n: int = N_HELD_OUT) -> list[Workload]:
    """Uniform random counts: off any grid, and no plan's choice."""
    rng = np.random.default_rng(HELD_OUT_SEED)
    chosen: dict[Workload, None] = {}
    while len(chosen) < n:
        family = families[len(chosen) % len(families)]
        chosen[family.at(*rng.integers(1, (family.c_in, family.c_out), endpoint=True))] = None
    return list(chosen)


def adaptive(device: Device, op: str, journal: Path) -> LatencyTable:
    """N_TRAIN shapes chosen one batch after the other."""
    chosen = AdaptivePlan(OPS[op], n_shapes=N_TRAIN, seed=0)
    return measure_adaptively(
        chosen, LatencyTable(device.target), lambda w: profile(device, w, journal=journal)
    )


def measure(runtime: str, op: str, folder: Path) -> None:
    """``*_adaptive`` as chosen; then the held-out shapes and the other plans', in the same rounds,
    so that all of them are compared in the same weather. Goes on where it was stopped."""
    folder.mkdir(parents=True, exist_ok=True)
    chosen_path = folder / f"{runtime}_{op}_adaptive.parquet"
    journal = folder / f"{runtime}_{op}.journal"
    with open_device("local", runtime=runtime) as device:
        if not chosen_path.exists():
            adaptive(device, op, chosen_path.with_suffix(".journal")).save(chosen_path)
        plans = {m: plan(OPS[op], method=m, n_shapes=N_TRAIN, seed=0) for m in ("spread", "paper")}
        plans["held_out"] = held_out(families_of(OPS[op]))
        shapes = dict.fromkeys(w for chosen in plans.values() for w in chosen)
        rows = {m.workload: m for m in profile(device, list(shapes), journal=journal)}
        for name, chosen in plans.items():
            table = LatencyTable(device.target, tuple(rows[w] for w in chosen))
            table.save(folder / f"{runtime}_{op}_{name}.parquet")
            print(f"{runtime} {op} {name}: {len(table.usable)} rows", file=sys.stderr)


if __name__ == "__main__":
    measure(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
