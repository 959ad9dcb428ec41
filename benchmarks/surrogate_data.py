"""What the accuracy benchmark measures: 1x1 convolutions and matmuls, for training and held out."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from latprof._workload import Conv2d, MatMul, Workload
from latprof.devices import open_device, profile
from latprof.tables import Family, LatencyTable, families_of, plan

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
HELD_OUT_SEED = 20_240


def held_out(families: list[Family], n: int = N_HELD_OUT) -> list[Workload]:
    """Uniform random counts: off any grid, and no plan's choice."""
    rng = np.random.default_rng(HELD_OUT_SEED)
    chosen: dict[Workload, None] = {}
    while len(chosen) < n:
        family = families[len(chosen) % len(families)]
        counts = rng.integers(1, (family.c_in, family.c_out), endpoint=True)
        chosen[family.at(*counts)] = None
    return list(chosen)


def measured(
    runtime: str, name: str, shapes: list[Workload], folder: Path, device: str = "local"
) -> LatencyTable:
    """These shapes' table, out of ``folder`` where it holds them, measured where not."""
    path = folder / f"{runtime}_{name}.parquet"
    if path.exists():
        table = LatencyTable.load(path)
        if {m.workload for m in table.measurements} >= set(shapes):
            return table
    with open_device(device, runtime=runtime) as opened:
        rows = profile(opened, shapes, journal=path.with_suffix(".journal"))
        table = LatencyTable(opened.target, tuple(rows))
    table.save(path)
    print(f"{path.name}: {len(table)} rows, {len(table.usable)} usable", file=sys.stderr)
    return table


def main() -> None:
    """Measure one runtime's op into a folder: RUNTIME OP FOLDER."""
    runtime, op, folder = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    folder.mkdir(parents=True, exist_ok=True)
    families = families_of(OPS[op])
    measured(runtime, f"{op}_held_out", held_out(families), folder)
    for method in ("spread", "paper"):
        shapes = plan(OPS[op], method=method, n_shapes=N_TRAIN, seed=0)
        measured(runtime, f"{op}_{method}", shapes, folder)


if __name__ == "__main__":
    main()
