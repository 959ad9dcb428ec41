"""Four ways to a smaller network of a wanted measured latency, all trained alike."""

from __future__ import annotations

import copy
import fcntl
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from latprof import Workload
from latprof._compression import Settings, Workshop, _frozen, compress_in
from latprof.compress import (
    Compressor,
    Distillation,
    Recipe,
    TensorBatches,
    largest,
    shrink,
    trace,
    train,
    uniform_counts,
)
from latprof.compress._cost import Cost
from latprof.surrogate import Surrogate
from latprof.tables import LatencyTable

__all__ = ["METHODS", "Job", "QuietWorkshop", "alone", "prune_globally"]

#: Where every method stops: measured latency as a share of the budget.
_LOW, _HIGH = 0.94, 0.985
_TRIES = 10
_ROUND_TO = 16
_PRUNING_STEPS = 10


@dataclass(frozen=True)
class QuietWorkshop(Workshop):
    """A workshop that waits for the machine: one measurement at a time holds the lock."""

    lock: Path = field(kw_only=True)

    def time(self, *files: Path) -> list[float]:
        with alone(self.lock):
            return super().time(*files)


@contextmanager
def alone(lock: Path) -> Iterator[None]:
    """Waits until no other process holds the file."""
    with lock.open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield


@dataclass(frozen=True)
class Job:
    """One run: what is thinned, to what, with which training."""

    workshop: QuietWorkshop
    model: nn.Module
    table: LatencyTable
    surrogate: Surrogate
    settings: Settings
    batches: TensorBatches

    @property
    def share(self) -> float:
        return float(self.settings.budget.rstrip("%")) / 100


@dataclass(frozen=True)
class Thin:
    """A thinned and trained network; ``comp`` where it was made by latprof."""

    model: nn.Module
    comp: Compressor | None = None


class Flops:
    """What stands in for the surrogate where FLOPs are to be paid instead of seconds.

    Seconds are a line in MACs, fitted to the whole networks of the table, so that the budget is
    in seconds while the gradient is that of the MACs.
    """

    def __init__(self, table: LatencyTable) -> None:
        rows = table.usable_models
        macs = np.array([sum(w.macs for w in m.workloads) for m in rows], dtype=np.float64)
        seconds = np.array([m.latency_s for m in rows])
        design = np.stack([macs, np.ones_like(macs)], axis=1) / seconds[:, None]
        slope, constant = np.linalg.lstsq(design, np.ones_like(seconds))[0]
        self.slope, self.constant_s = float(slope), max(float(constant), 0.0)

    def torch_module(self, workloads: Sequence[Workload]) -> nn.Module:
        return _Macs(workloads, self.slope, self.constant_s)

    def predict_model(self, workloads: Sequence[Workload]) -> Any:
        seconds = self.constant_s + self.slope * sum(w.macs for w in workloads)
        return _Predicted(seconds)


@dataclass(frozen=True)
class _Predicted:
    latency_s: float


class _Macs(nn.Module):
    """(..., N, 2) counts to (..., N) seconds: MACs times the slope."""

    def __init__(self, workloads: Sequence[Workload], slope: float, constant_s: float) -> None:
        super().__init__()
        self.constant_s = constant_s
        tied = torch.tensor([w.tied for w in workloads])
        full = torch.tensor([w.channels for w in workloads], dtype=torch.float32)
        each = torch.tensor([w.macs for w in workloads], dtype=torch.float32)
        self.register_buffer("tied", tied)
        self.register_buffer("each", slope * each / torch.where(tied, full[:, 1], full.prod(1)))

    def forward(self, counts: Tensor) -> Tensor:
        return self.each * torch.where(self.tied, counts[..., 1], counts.prod(-1))


def latprof(job: Job) -> Thin:
    comp, small = compress_in(job.workshop, job.model, job.surrogate, job.settings, job.batches)
    return Thin(small, comp)


def flops(job: Job) -> Thin:
    stand_in: Any = Flops(job.table)
    comp, small = compress_in(job.workshop, job.model, stand_in, job.settings, job.batches)
    return Thin(small, comp)


def uniform(job: Job) -> Thin:
    """Every group thinned by the same share, to the same multiples as latprof's."""
    graph = trace(job.model, job.workshop.example_inputs).aligned(job.settings.block.divisor)
    cost = Cost(graph, job.surrogate)
    full_s = cost.exact(graph.sizes)

    def thinned(share: float) -> nn.Module:
        counts = uniform_counts(graph, cost, share * full_s)
        return shrink(job.model, graph, largest(job.model, graph, counts))

    return _trained(job, thinned)


def torch_pruning(job: Job) -> Thin:
    """Torch-Pruning: global magnitude, in steps, at multiples of 16, then trained."""
    return _trained(job, lambda keep: prune_globally(job, 1 - keep))


def prune_globally(job: Job, ratio: float) -> nn.Module:
    import torch_pruning as tp

    small = copy.deepcopy(job.model).eval()
    last = [m for m in small.modules() if isinstance(m, nn.Linear)][-1]
    pruner = tp.pruner.BasePruner(
        small,
        job.workshop.example_inputs,
        importance=tp.importance.MagnitudeImportance(p=2),
        global_pruning=True,
        pruning_ratio=ratio,
        iterative_steps=_PRUNING_STEPS,
        round_to=_ROUND_TO,
        ignored_layers=[last],
    )
    for _ in range(_PRUNING_STEPS):
        pruner.step()
    return small


def _trained(job: Job, thinned: Callable[[float], nn.Module]) -> Thin:
    """The slowest network found within the budget, trained for as long as latprof's."""
    settings, folder = job.settings, job.workshop.folder
    chosen = folder / "chosen.json"
    if not chosen.is_file():
        chosen.write_text(json.dumps(_bisected(job, thinned)))
    small = thinned(json.loads(chosen.read_text()))
    train(
        small,
        job.batches,
        Recipe(settings.masks.epochs + settings.fine_tune.epochs, lr=settings.fine_tune.lr),
        distillation=Distillation(_frozen(job.model), settings.coefficient, settings.temperature),
        checkpoint=folder / "trained.checkpoint",
        seed=settings.seed,
    )
    return Thin(small)


def _bisected(job: Job, thinned: Callable[[float], nn.Module]) -> float:
    """The largest share to keep whose network measures within the budget."""
    original = job.workshop.export(job.model, "original")
    low, high = 0.0, 1.0
    for _ in range(_TRIES):
        share = (low + high) / 2
        took = job.workshop.time_beside(original, 1.0, thinned(share)) / job.share
        if _LOW <= took <= _HIGH:
            return share
        low, high = (low, share) if took > _HIGH else (share, high)
    return low


METHODS: dict[str, Callable[[Job], Thin]] = {
    "latprof": latprof,
    "flops": flops,
    "uniform": uniform,
    "torch_pruning": torch_pruning,
}
