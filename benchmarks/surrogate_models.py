"""Whole models: predicted against measured over random-width variants.

    python -P benchmarks/surrogate_models.py prepare NETWORK FOLDER [DIVISOR]  export the variants
    python -P benchmarks/surrogate_models.py measure NETWORK FOLDER    profile ops, time variants
    python -P benchmarks/surrogate_models.py report FOLDER             fit and compare; JSON last

20 variants calibrate and 50 others are held out; all are timed in the same interleaved rounds.
Widths are multiples of DIVISOR: by default such as pruning leaves, of 1 any.
"""

from __future__ import annotations

import json
import platform
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from latprof.compress import Prune, export, trace, variant
from latprof.devices import ScheduleSettings, measure_files, open_device
from latprof.pipeline import profile_into
from latprof.surrogate import fit
from latprof.tables import LatencyTable, ModelMeasurement
from latprof.workloads import Workload, workload_from_dict

sys.path.insert(0, str(Path(__file__).parent))
from networks import NETWORKS

N_CALIBRATE, N_HELD_OUT, N_SHAPES = 20, 50, 300
SEED = 0


def prepare(network: str, folder: Path, divisor: int) -> None:
    """Export every variant, and keep the workloads of each."""
    torch.manual_seed(SEED)
    model, example = NETWORKS[network]()
    graph = trace(model.eval(), example).aligned(divisor)
    home = folder / network
    home.mkdir(parents=True, exist_ok=True)
    ops = [graph.workloads()]
    for number in range(N_CALIBRATE + N_HELD_OUT):
        counts = graph.random_counts(np.random.default_rng([SEED, number]))
        ops.append(graph.workloads(counts))
        small = variant(model, graph, np.random.default_rng([SEED, number]))
        export(small, example, home / f"{number:02}.onnx")
        print(number, end=" ", file=sys.stderr, flush=True)
    (home / "ops.json").write_text(json.dumps([[w.to_dict() for w in model] for model in ops]))


def measure(network: str, folder: Path, runtime: str = "onnxruntime") -> None:
    """The ops of the full model into a table, then all variants as its whole-model rows."""
    home = folder / network
    full, *variants = _workloads(home)
    with open_device("local", runtime=runtime) as device:
        table = profile_into(home / "table.parquet", device, full, n_shapes=N_SHAPES, seed=SEED)
        files = [home / f"{number:02}.onnx" for number in range(len(variants))]
        timings = measure_files(device, files, settings=ScheduleSettings(round_s=0.06))
    rows = [
        ModelMeasurement(name=path.stem, workloads=tuple(ops), **vars(timing))
        for path, ops, timing in zip(files, variants, timings, strict=True)
    ]
    table.with_models(rows).save(home / "table.parquet")


def report(folder: Path) -> None:
    """Held-out error with n calibrating models, and with ops added up; JSON on the last line."""
    result: dict[str, Any] = {"seed": SEED, "machine": platform.machine(), "networks": {}}
    for home in sorted(p for p in folder.iterdir() if (p / "table.parquet").exists()):
        table = LatencyTable.load(home / "table.parquet")
        usable = table.usable_models  # what was disturbed throughout tells nothing
        held_out = usable[N_CALIBRATE:]
        scores = {}
        for n in (0, 5, 10, 20):
            surrogate = fit(replace(table, models=usable[:n]))
            scores[f"calibrated_{n}"] = _score(surrogate.predict_model, held_out)
            print(home.name, n, scores[f"calibrated_{n}"], file=sys.stderr)
        alone = surrogate.predict
        scores["ops_added_up"] = _score(_added_up(alone), held_out)
        result["networks"][home.name] = {
            "shapes": len(table.usable),
            "held_out": len(held_out),
            "spread_of_timing": float(np.median([m.spread for m in held_out])),
            "median_latency_s": float(np.median([m.latency_s for m in held_out])),
            **scores,
        }
        result["target"] = str(table.target)
    print(json.dumps(result))


def _added_up(predict: Any) -> Any:
    """A prediction of each op, summed."""

    def summed(ops: Any) -> Any:
        each = predict(ops)
        sums = {k: getattr(each, k).sum() for k in ("latency_s", "lower_s", "upper_s")}
        return replace(each, **sums)

    return summed


def _score(predict: Any, models: tuple[ModelMeasurement, ...]) -> dict[str, float]:
    measured_s = np.array([m.latency_s for m in models])
    predicted = [predict(m.workloads) for m in models]
    errors = np.array([float(p.latency_s) for p in predicted]) / measured_s - 1
    inside = [float(p.lower_s) <= s <= float(p.upper_s)
              for p, s in zip(predicted, measured_s, strict=True)]  # fmt: skip
    return {
        "mape": float(np.abs(errors).mean()),
        "bias": float(errors.mean()),
        "worst": float(np.abs(errors).max()),
        "within_10pct": float((np.abs(errors) <= 0.1).mean()),
        "covered": float(np.mean(inside)),
    }


def _workloads(home: Path) -> list[list[Workload]]:
    stored = json.loads((home / "ops.json").read_text())
    return [[workload_from_dict(w) for w in model] for model in stored]


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["report", folder]:
            report(Path(folder))
        case ["measure", network, folder]:
            measure(network, Path(folder))
        case ["prepare", network, folder, *divisor]:
            prepare(network, Path(folder), int(divisor[0]) if divisor else Prune().divisor)
        case _:
            raise SystemExit(__doc__)
