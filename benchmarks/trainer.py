"""What ``latprof.compress.train`` adds to a bare loop of torch: seconds per step, and memory.

    python -P benchmarks/trainer.py [--rounds 8] [--steps 20]

The same network is trained on the same batches by ``train`` and by a loop of a dozen lines
(forward, backward, AdamW), by turns in one process. A turn's figure is the time from the end of its
first step to the end of its last: what is done once in a run of thousands of steps does not count.
A ratio is the median over rounds. Memory is the peak resident set of a fresh process over five
steps, less what it holds before the first, the median of three. The last line of stdout is one JSON
object.
"""

from __future__ import annotations

import argparse
import copy
import json
import platform
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parent))
from _peak_memory import above_start, print_peak

from latprof.compress import TensorBatches, TrainSettings, train
from latprof.pipeline import prepare_for_training
from latprof.zoo import mobilenet_v3_small, resnet18

_NETWORKS: dict[str, Callable[[], tuple[nn.Module, tuple[torch.Tensor, ...]]]] = {
    "mobilenet_v3_small": mobilenet_v3_small,
    "resnet18": resnet18,
}
_BATCH = 128
_LIMIT, _MEMORY_LIMIT = 1.03, 1.1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", nargs="*", default=list(_NETWORKS), choices=_NETWORKS)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--worker", nargs=3, metavar=("NETWORK", "WAY", "STEPS"))
    args = parser.parse_args()
    prepare_for_training("this benchmark")
    if args.worker:
        network, way, steps = args.worker
        job = prepared(network, max(int(steps), 1))
        print_peak(lambda: _WAYS[way](*job) if int(steps) else None)
        return
    memory = {
        name: above_start(__file__, name, "trained") / above_start(__file__, name, "bare")
        for name in args.networks
    }
    ratios = {name: measured(name, args.rounds, args.steps) for name in args.networks}
    print(
        json.dumps(
            {
                "benchmark": "trainer",
                "batch": _BATCH,
                "ratios": ratios,
                "limit": _LIMIT,
                "memory_ratios": memory,
                "memory_limit": _MEMORY_LIMIT,
                "passed": all(ratio["median"] <= _LIMIT for ratio in ratios.values())
                and max(memory.values()) <= _MEMORY_LIMIT,
                "threads": torch.get_num_threads(),
                "machine": platform.processor() or platform.machine(),
                "versions": {name: version(name) for name in ("torch", "accelerate")},
            }
        )
    )


def measured(name: str, rounds: int, steps: int) -> dict[str, Any]:
    model, batches, settings = prepared(name, steps)
    ratios = []
    for number in range(rounds):
        taken = {}
        for way in (trained, bare)[:: 1 if number % 2 else -1]:
            taken[way] = way(copy.deepcopy(model), batches, settings)
        ratios.append(taken[trained] / taken[bare])
        print(f"{name}: round {number + 1} of {rounds}: {ratios[-1]:.3f}", file=sys.stderr)
    low, median, high = np.quantile(ratios, (0.25, 0.5, 0.75))
    return {"median": float(median), "quartiles": [float(low), float(high)]}


def prepared(name: str, steps: int) -> tuple[nn.Module, TensorBatches, TrainSettings]:
    """A network, one epoch of so many batches, and how to train."""
    torch.manual_seed(0)
    model, (example,) = _NETWORKS[name]()
    model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    images = torch.randn(steps * _BATCH, *example.shape[1:])
    labels = torch.randint(0, 10, (len(images),))
    return model, TensorBatches(images, labels, _BATCH), TrainSettings(1, lr=1e-4)


def trained(model: nn.Module, batches: TensorBatches, settings: TrainSettings) -> float:
    """Seconds per step."""
    ends: list[float] = []
    train(model, batches, settings, on_tick=lambda _: ends.append(time.perf_counter()))
    return (ends[-1] - ends[0]) / (len(ends) - 1)


def bare(model: nn.Module, batches: TensorBatches, settings: TrainSettings) -> float:
    """Seconds per step of a loop that looks at its loss, as any does."""
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings.lr)
    ends: list[float] = []
    for images, labels in batches.epoch(0):
        loss = nn.functional.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        assert loss.isfinite()
        ends.append(time.perf_counter())
    return (ends[-1] - ends[0]) / (len(ends) - 1)


_WAYS = {"trained": trained, "bare": bare}


if __name__ == "__main__":
    main()
