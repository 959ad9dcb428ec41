"""Speed on one CPU thread: the penalty of MobileNetV3-Large with its gradient, and fitting.

OMP_NUM_THREADS=1 python -P benchmarks/surrogate_speed.py
"""

from __future__ import annotations

import json
import platform
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from support.tables import table_of

from latprof.compress import trace
from latprof.surrogate import fit
from latprof.tables import plan
from latprof.workloads import Conv2d
from latprof.zoo import mobilenet_v3_large

ROWS = 2000


def main() -> None:
    torch.set_num_threads(1)
    model, example = mobilenet_v3_large()
    workloads = trace(model.eval(), example).workloads()
    surrogate = fit(table_of(plan(workloads, n_shapes=400), noise=0.01), method="tile")
    module = surrogate.torch_module(workloads)
    full = torch.tensor([w.channels for w in workloads], dtype=torch.float32)
    counts = (full * 0.7).requires_grad_()

    def penalty() -> None:
        counts.grad = None
        module(counts).sum().backward()

    ops = [Conv2d(s, s, 512, 512) for s in (7, 14, 28, 56)]
    rows = table_of(plan(ops, n_shapes=ROWS), noise=0.01)
    result = {
        "machine": platform.processor() or platform.machine(),
        "versions": {"torch": version("torch"), "scipy": version("scipy")},
        "ops": len(workloads),
        "penalty_and_gradient_s": _best(penalty, 500),
        "module_build_s": _best(lambda: surrogate.torch_module(workloads), 1),
        "fit_rows": ROWS,
        "fit_s": _best(lambda: fit(rows, method="tile"), 1),
        "gradient_error": _gradient_error(module, full),
    }
    print(json.dumps(result))


def _best(run: Callable[[], object], calls: int) -> float:
    """Median seconds of a call, over 5 rounds after one to warm up."""
    run()
    rounds = []
    for _ in range(5 if calls > 1 else 1):
        start = time.perf_counter()
        for _ in range(calls):
            run()
        rounds.append((time.perf_counter() - start) / calls)
    return float(np.median(rounds))


def _gradient_error(module: torch.nn.Module, full: torch.Tensor) -> float:
    """Largest relative difference to central differences at random counts away from knots."""
    module = module.double()
    generator = torch.Generator().manual_seed(0)
    worst = 0.0
    for _ in range(20):
        share = torch.rand(full.shape, generator=generator, dtype=torch.float64)
        counts = ((share * full.double()).floor() + 0.5).requires_grad_()
        (gradient,) = torch.autograd.grad(module(counts).sum(), counts)
        for axis in (0, 1):
            shift = torch.zeros_like(counts)
            shift[:, axis] = 1e-3
            with torch.no_grad():
                difference = (module(counts + shift) - module(counts - shift)) / 2e-3
            scale = difference.abs().clamp(min=1e-12)
            worst = max(worst, float(((gradient[:, axis] - difference) / scale).abs().max()))
    return worst


if __name__ == "__main__":
    main()
