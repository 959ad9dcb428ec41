"""Four ways to a smaller network of a wanted measured latency, and none, all trained alike."""

from __future__ import annotations

import copy
import fcntl
import functools
import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from latprof import Workload, compress, load_shrunk
from latprof.compress import (
    Compressor,
    Distillation,
    Graph,
    Method,
    Prune,
    TensorBatches,
    largest,
    shrink,
    trace,
    train,
)
from latprof.compress.cost import thinned
from latprof.compress.methods import AIM, HIGH, LOW  # where every method stops
from latprof.compress.space import Space
from latprof.compress.train import channels_last
from latprof.errors import DeviceError
from latprof.models import load_model
from latprof.pipeline.run import Deployment, Settings, compress_in
from latprof.surrogate import Surrogate
from latprof.surrogate.compose import Composition
from latprof.vocabulary import Timing

T = TypeVar("T")
Floats = np.ndarray[Any, np.dtype[np.float64]]

__all__ = [
    "METHODS",
    "Job",
    "QuietDeployment",
    "Thin",
    "alone",
    "chosen_by",
    "from_file",
    "latprof",
    "prune_globally",
    "slowest",
    "trained",
    "widest",
]

_TRIES = 8
_HALVINGS = 9
_PAUSE_S = 5.0
_MULTIPLES = (16, 8, 4)
_PRUNING_STEPS = 10


@dataclass(frozen=True)
class QuietDeployment(Deployment):
    """A deployment that waits for the machine: one measurement at a time holds the lock, and one
    that a busy machine disturbed is made again later."""

    lock: Path = field(kw_only=True)
    patience_s: float = 3600.0

    def timings(self, *files: Path) -> list[Timing]:
        return self._in_peace(lambda: super(QuietDeployment, self).timings(*files))

    def ratios(self, original: Path, *files: Path) -> list[float]:
        return self._in_peace(lambda: super(QuietDeployment, self).ratios(original, *files))

    def _in_peace(self, measure: Callable[[], T]) -> T:
        until = time.monotonic() + self.patience_s
        while True:
            try:
                with alone(self.lock):
                    return measure()
            except DeviceError:
                if time.monotonic() > until:
                    raise
                time.sleep(_PAUSE_S)


@contextmanager
def alone(lock: Path) -> Iterator[None]:
    """Waits until no other process holds the file."""
    with lock.open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield


@dataclass(frozen=True)
class Job:
    """One run: what is thinned, to what, with which training."""

    deployment: QuietDeployment
    model: nn.Module
    surrogate: Surrogate
    settings: Settings
    batches: TensorBatches
    table: Path

    @property
    def share(self) -> float:
        return float(self.settings.budget.rstrip("%")) / 100

    def predicted_s(self, model: nn.Module) -> float:
        """Seconds of a network, by the surrogate."""
        workloads = trace(model, self.deployment.example_inputs).workloads()
        return float(self.surrogate.predict_model(workloads).latency_s)

    @property
    def graph(self) -> Graph:
        return trace(self.model, self.deployment.example_inputs).aligned(Prune().divisor)


@dataclass(frozen=True)
class Thin:
    """A thinned and trained network; ``comp`` where it was made by latprof; what else to note;
    ``deployment`` where its file is another one than the job's would export."""

    model: nn.Module
    comp: Compressor | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    deployment: QuietDeployment | None = None


class Flops:
    """What stands in for the surrogate where FLOPs are to be paid instead of seconds.

    The seconds are those of the uniformly thinned network of as many MACs, so that budgets are
    in seconds, and as reachable, while the gradient has the direction of that of the MACs.
    """

    composition = Composition()
    #: Of kinds of op that it could tell apart.
    labels: tuple[str, ...] = ()

    def __init__(self, graph: Graph, surrogate: Surrogate) -> None:
        self.target = surrogate.target
        macs, seconds = [], []
        for share in np.linspace(0, 1, 21):
            workloads = graph.workloads(thinned(Space(graph), share))
            macs.append(sum(w.macs for w in workloads))
            seconds.append(float(surrogate.predict_model(workloads).latency_s))
        self.macs, first = np.unique(np.array(macs, dtype=np.float64), return_index=True)
        self.seconds = np.maximum.accumulate(np.array(seconds)[first])

    def torch_module(self, workloads: Sequence[Workload], *, alternatives: int = 0) -> nn.Module:
        return _Macs(workloads, self.macs, self.seconds)

    def predict_model(self, workloads: Sequence[Workload]) -> _Predicted:
        macs = sum(w.macs for w in workloads)
        return _Predicted(float(np.interp(macs, self.macs, self.seconds)))


@dataclass(frozen=True)
class _Predicted:
    latency_s: float


class _Macs(nn.Module):
    """(..., N, 2) counts to (..., 1) seconds, read off all their MACs."""

    tied: Tensor
    each: Tensor
    knots: Tensor
    seconds: Tensor

    def __init__(self, workloads: Sequence[Workload], knots: Floats, seconds: Floats) -> None:
        super().__init__()
        tied = torch.tensor([w.tied for w in workloads])
        full = torch.tensor([w.channels for w in workloads], dtype=torch.float32)
        each = torch.tensor([w.macs for w in workloads], dtype=torch.float32)
        self.register_buffer("tied", tied)
        self.register_buffer("each", each / torch.where(tied, full[:, 1], full.prod(1)))
        self.register_buffer("knots", torch.tensor(knots, dtype=torch.float32))
        self.register_buffer("seconds", torch.tensor(seconds, dtype=torch.float32))

    def forward(self, counts: Tensor) -> Tensor:
        macs = (self.each * torch.where(self.tied, counts[..., 1], counts.prod(-1))).sum(-1)
        above = torch.searchsorted(self.knots, macs.detach()).clamp(1, len(self.knots) - 1)
        x, y = self.knots, self.seconds
        slope = (y[above] - y[above - 1]) / (x[above] - x[above - 1])
        return (y[above - 1] + slope * (macs - x[above - 1]))[..., None]


def latprof(job: Job) -> Thin:
    done = compress_in(job.deployment, job.model, job.surrogate, job.settings, job.batches)
    return Thin(done.small, done.comp)


def chosen_by(method: Method) -> Callable[[Job], Thin]:
    """As ``latprof``, with units chosen by another method, or by masks with other switches."""
    return lambda job: latprof(replace(job, settings=replace(job.settings, method=method)))


def from_file(job: Job) -> Thin:
    """``latprof compress FILE.onnx``: the same images, without labels and without code."""
    folder, settings = job.deployment.folder, job.settings
    file = job.deployment.export(job.model, "exported")
    np.savez(folder / "inputs.npz", job.batches.images.numpy())
    compress(
        file,
        inputs=str(folder / "inputs.npz"),
        table=str(job.table),
        out=str(folder / "file"),
        **{name: getattr(settings, name) for name in ("budget", "masks", "fine_tune", "seed")},
    )
    return Thin(load_shrunk(load_model(str(file))[0], folder / "file/compressed"))


def flops(job: Job) -> Thin:
    stand_in: Any = Flops(job.graph, job.surrogate)
    done = compress_in(job.deployment, job.model, stand_in, job.settings, job.batches)
    return Thin(done.small, done.comp)


def uniform(job: Job) -> Thin:
    """Every group thinned by the same share, to the same multiples as latprof's."""
    graph = job.graph

    def thin(share: float) -> nn.Module:
        return shrink(job.model, graph, largest(job.model, graph, thinned(Space(graph), share)))

    return trained(job, slowest(job, thin))


def whole(job: Job) -> Thin:
    """The original, trained for as long: what the others' training alone is worth."""
    return trained(job, copy.deepcopy(job.model))


def torch_pruning(job: Job) -> Thin:
    """Torch-Pruning: global magnitude, in steps, then trained.

    At multiples of 16 where its smallest network is fast enough, else of the next finer.
    """
    full_s = job.predicted_s(job.model)
    for multiple in _MULTIPLES:
        smallest_s = job.predicted_s(prune_globally(job, 1.0, multiple))
        if smallest_s <= AIM * job.share * full_s:
            break
    small = slowest(job, lambda share: prune_globally(job, 1 - share, multiple))
    return replace(trained(job, small), facts={"round_to": multiple})


def prune_globally(job: Job, ratio: float, multiple: int) -> nn.Module:
    import torch_pruning as tp

    small = copy.deepcopy(job.model).eval()
    last = [m for m in small.modules() if isinstance(m, nn.Linear)][-1]
    pruner = tp.pruner.BasePruner(
        small,
        job.deployment.example_inputs,
        importance=tp.importance.MagnitudeImportance(p=2),
        global_pruning=True,
        pruning_ratio=ratio,
        iterative_steps=_PRUNING_STEPS,
        round_to=multiple,
        ignored_layers=[last],
    )
    for _ in range(_PRUNING_STEPS):
        pruner.step()
    return small


def slowest(job: Job, thin: Callable[[float], nn.Module]) -> nn.Module:
    """The slowest network found within the budget, and found once."""
    chosen = job.deployment.folder / "chosen.json"
    if not chosen.is_file():
        chosen.write_text(json.dumps(_found(job, thin)))
    return thin(json.loads(chosen.read_text()))


def trained(job: Job, small: nn.Module) -> Thin:
    return Thin(train_as_long(small, job.model, job.batches, job.settings, job.deployment.folder))


def train_as_long(
    small: nn.Module, model: nn.Module, batches: Any, settings: Settings, folder: Path
) -> nn.Module:
    """``small`` itself, distilled from ``model`` for as long as latprof's, masks and all."""
    teacher = copy.deepcopy(model).eval().requires_grad_(False)
    channels_last(teacher)  # as the run's
    train(
        small,
        batches,
        replace(settings.fine_tune, epochs=settings.masks.epochs + settings.fine_tune.epochs),
        distillation=Distillation(teacher, settings.coefficient, settings.temperature),
        checkpoint=folder / "trained.checkpoint",
        seed=settings.seed,
    )
    return small


def _fits(predicted: Callable[[float], float], correction: float, share: float) -> bool:
    return correction * predicted(share) <= AIM


def widest(fits: Callable[[float], bool]) -> float:
    """The largest share that fits, to 1/512."""
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def _found(job: Job, thin: Callable[[float], nn.Module]) -> float:
    """The share to keep whose network is the slowest that measures within the budget.

    Bisected on the prediction, which every measurement corrects.
    """
    original = job.deployment.export(job.model, "original")
    full_s = job.predicted_s(job.model)
    predicted = functools.cache(lambda share: job.predicted_s(thin(share)) / full_s / job.share)
    measured: dict[float, float] = {}
    correction = 1.0
    for _ in range(_TRIES):
        low = widest(functools.partial(_fits, predicted, correction))
        if low in measured:
            break
        measured[low] = job.deployment.time_beside(original, 1.0, thin(low)) / job.share
        if LOW <= measured[low] <= HIGH:
            break
        correction = measured[low] / predicted(low)
    within = [share for share, took in measured.items() if took <= HIGH]
    if not within:
        raise DeviceError(f"nothing within {job.settings.budget}: {measured}; a larger budget may")
    return max(within, key=measured.__getitem__)


METHODS: dict[str, Callable[[Job], Thin]] = {
    "latprof": latprof,
    "flops": flops,
    "uniform": uniform,
    "torch_pruning": torch_pruning,
    "whole": whole,
}
