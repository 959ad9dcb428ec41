"""What masks and the penalty add to a training step: seconds and memory, over the plain step.

    python -P benchmarks/overhead.py [--rounds 60] [--networks NAME ...]

Steps (forward, backward, optimiser, ``Compressor.step``) of the plain network and of the same
network under each choice of blocks and method are interleaved in one process; a ratio is the median
over the rounds of such a step over the plain step beside it. Memory is the peak resident set of a
fresh process over five steps, less what such a process holds before its first, the median of three;
what tracing and fitting took is given back to the system before. It is read from Linux's /proc.
Freed memory is kept, as ``latprof compress`` does. The surrogate comes from an exact law, for no
latency is judged here. Once in 60 steps of a run the masks are projected as well; the mean ratio
holds its share. The last line of stdout is one JSON object.
"""

from __future__ import annotations

import argparse
import copy
import json
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from torch import nn

from latprof import Compressor, LowRank, Masks, Prune, Sparse, Threshold
from latprof.compress import Block, Method, trace
from latprof.pipeline import prepare_for_training
from latprof.surrogate import fit
from latprof.tables import plan
from latprof.zoo import mobilenet_v3_small, resnet18

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from _peak_memory import above_start, print_peak
from support.tables import table_of


def _at_224() -> tuple[nn.Module, tuple[torch.Tensor, ...]]:
    model, _ = mobilenet_v3_small(in_channels=3)
    return model, (torch.zeros(1, 3, 224, 224),)


#: Networks, and the batches they are trained with: MobileNetV3-Small at FashionMNIST's 28 px, where
#: it has 3 multiply-accumulates per weight and image, and at its published 224 px.
NETWORKS: dict[str, tuple[Callable[[], tuple[nn.Module, tuple[torch.Tensor, ...]]], int]] = {
    "mobilenet_v3_small": (mobilenet_v3_small, 128),
    "mobilenet_v3_small, 224 px": (_at_224, 32),
    "resnet18": (resnet18, 128),
}


@dataclass(frozen=True)
class Case:
    """What the compressor of a step has; without blocks there is none."""

    blocks: tuple[Block, ...] = ()
    method: Method = field(default_factory=Masks)
    budget: str = "60%"


CASES = {
    "plain": Case(),
    "prune": Case((Prune(),)),
    "prune + low rank": Case((Prune(), LowRank())),
    "threshold": Case((Sparse(),), Threshold(), "params=30%"),
}
LIMITS = {"prune": 1.05, "prune + low rank": 1.25, "threshold": 1.10}
MEMORY_LIMIT = 1.1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", nargs="*", default=list(NETWORKS), choices=NETWORKS)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--worker", nargs=3, metavar=("NETWORK", "CASE", "STEPS"))
    args = parser.parse_args()
    prepare_for_training("this benchmark")
    if args.worker:
        network, case, steps = args.worker
        step = stepper(network, CASES[case])
        print_peak(lambda: [step() for _ in range(int(steps))])
        return
    found = {name: measured(name, args.rounds) for name in args.networks}
    ratios = {name: row["step_ratio"] for name, row in found.items()}
    print(
        json.dumps(
            {
                "benchmark": "overhead",
                "batch": {name: NETWORKS[name][1] for name in found},
                "networks": found,
                "step_ratio_limits": LIMITS,
                "memory_ratio_limit": MEMORY_LIMIT,
                "passed": all(r[b] <= limit for r in ratios.values() for b, limit in LIMITS.items())
                and all(
                    row["memory_ratio"][case] <= MEMORY_LIMIT
                    for row in found.values()
                    for case in ("prune", "threshold")
                ),
                "threads": torch.get_num_threads(),
                "machine": platform.processor() or platform.machine(),
                "versions": {"torch": version("torch")},
            }
        )
    )


def measured(name: str, rounds: int) -> dict[str, dict[str, float]]:
    steps = {case: stepper(name, chosen) for case, chosen in CASES.items()}
    seconds: dict[str, list[float]] = {case: [] for case in CASES}
    for number in range(rounds + 3):
        for case, step in steps.items():
            start = time.perf_counter()
            step()
            if number >= 3:
                seconds[case].append(time.perf_counter() - start)
        print(f"{name}: round {number + 1} of {rounds + 3}", file=sys.stderr)
    plain = np.array(seconds["plain"])
    memory = {case: above_start(__file__, name, case) for case in CASES}
    return {
        "step_s": {b: float(np.median(s)) for b, s in seconds.items()},
        "step_ratio": {b: float(np.median(np.array(s) / plain)) for b, s in seconds.items()},
        "mean_step_ratio": {b: float(np.mean(s) / plain.mean()) for b, s in seconds.items()},
        "memory_ratio": {b: float(m / memory["plain"]) for b, m in memory.items()},
    }


def stepper(name: str, case: Case) -> Callable[[], None]:
    """A training step of the network, under the case's blocks where there are any."""
    torch.manual_seed(0)
    make, batch = NETWORKS[name]
    model, example = make()
    model = copy.deepcopy(model).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    shape = (batch, *example[0].shape[1:])
    images = torch.randn(shape).contiguous(memory_format=torch.channels_last)
    comp: Compressor | None = None
    trained: nn.Module = model
    rows = table_of(plan(trace(model.eval(), example).workloads(), n_shapes=200), noise=0.0)
    surrogate = fit(rows, method="tile")
    if case.blocks:
        comp = Compressor(
            model, example, surrogate, case.budget, blocks=case.blocks, method=case.method
        )
        comp.steps_taken.fill_(comp.steps // 2)  # in the thick of it: masks move, lambda is steered
        trained = comp
    trained.train()
    with torch.no_grad():
        labels = torch.randint(0, model.eval()(images[:1]).shape[-1], (batch,))
    trained.train()
    optimizer = torch.optim.AdamW(trained.parameters(), lr=1e-4)

    def step() -> None:
        loss = nn.functional.cross_entropy(trained(images), labels)
        if comp:
            loss = loss + comp.penalty()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if comp:
            comp.step()

    return step


if __name__ == "__main__":
    main()
