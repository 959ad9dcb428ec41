"""The two phases of a run in its folder: masks, then fine-tuning; resumable."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from latprof.compress import (
    Batches,
    Compressor,
    Distillation,
    Latency,
    Tick,
    is_saved,
    save_shrunk,
    train,
)
from latprof.compress.graph import copy_model
from latprof.compress.masks import from_first
from latprof.compress.train import (
    channels_last,
    check_trainable,
    lagging_statistics,
    model_inputs,
)
from latprof.errors import UsageError
from latprof.pipeline.run._deployment import Deployment
from latprof.pipeline.run._folder import claim, model_digest, require_same_run
from latprof.pipeline.run._measured import MeasuredNetworks
from latprof.pipeline.run._processes import is_first
from latprof.pipeline.run._settings import Settings
from latprof.pipeline.run._time_left import TimeLeft
from latprof.pipeline.run._trail import FINE_TUNED, Trail
from latprof.pipeline.run._watching import Watch, Watcher
from latprof.pipeline.tokens import TokenTarget, token_targets
from latprof.surrogate import Surrogate
from latprof.vocabulary import load_json, save_json

__all__ = ["Compression", "Training", "compress_in", "run_fingerprint"]

_ORIGINAL, _TIME = "original.json", "time of the original"


@dataclass(frozen=True)
class Compression:
    """What the training of a run gave.

    Args:
        comp: its masks fixed.
        small: shrunk and fine-tuned, in eval mode.
        trail: the networks saved on the way, by name, each with its group counts.
        training: what they come from.
    """

    comp: Compressor
    small: nn.Module
    trail: dict[str, tuple[nn.Module, list[int]]]
    training: Training


def compress_in(
    deployment: Deployment,
    model: nn.Module,
    surrogate: Surrogate,
    settings: Settings,
    batches: Batches,
    watcher: Watcher | None = None,
    *,
    original_s: float | None = None,
    asked: Mapping[str, str] | None = None,
    source: Mapping[str, Any] | None = None,
) -> Compression:
    """Train ``model``'s copy to the budget and shrink it; the original is left as it is.

    The folder holds the checkpoints of both phases, ``log.jsonl``, ``measured.json`` (seconds of
    the networks that were tried, by the digest of their tensors), ``bytes.json`` (of their files,
    with a budget of bytes), and in the end the network as ``compressed.json`` and
    ``compressed.safetensors``; the same call goes on from the checkpoints after a kill, to the same
    weights.

    Args:
        watcher: follows the run; see Watcher.
        original_s: the original's measured latency, where it is known; else it is timed.
        asked: what else the outcome follows from, by name, as text; see ``claim``.
        source: how the original is built, kept beside each recipe; see ``Job.source``.

    Raises:
        UsageError: the folder holds a run of other settings, weights, data or target.
        InfeasibleBudgetError: before any training, with what can be reached.
    """
    fingerprint = run_fingerprint(deployment, model, settings, asked)
    require_same_run(deployment.folder, fingerprint)
    run = Training(deployment, model, settings, batches, watcher or Watcher(), source=source)
    comp = run.compressor(surrogate, original_s)
    if is_first():
        claim(deployment.folder, fingerprint)
    run.watcher.on_start()
    return run.train(comp)


def run_fingerprint(
    deployment: Deployment,
    model: nn.Module,
    settings: Settings,
    asked: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """All that a run's outcome follows from, by name, as text; see ``claim``."""
    return {
        **settings.to_text(),
        "weights": model_digest(model),
        "target": str(deployment.device.target),
        **(asked or {}),
    }


class Training:
    """The phases of a run, each of which goes on from its checkpoint.

    Args:
        deployment: files, device and folder.
        model: the original, which is left as it is.
        settings: of the phases.
        batches: to train with.
        watcher: who hears of it.
        source: how the original is built, kept beside each recipe; see ``Job.source``.
        fine_tunings: how often fine-tuning is done, for the time that is left.
    """

    def __init__(
        self,
        deployment: Deployment,
        model: nn.Module,
        settings: Settings,
        batches: Batches,
        watcher: Watcher,
        *,
        source: Mapping[str, Any] | None = None,
        fine_tunings: int = 1,
    ) -> None:
        deployment = replace(deployment, pack=settings.thins or settings.of_bytes)
        self.built = {} if source is None else {"source": source}
        self.deployment, self.model, self.settings = deployment, model, settings
        self.batches, self.watcher, self.folder = batches, watcher, deployment.folder
        self.targets = token_targets(settings.budgets, deployment.example_inputs)
        if self.targets and deployment.int8 is not None:
            raise UsageError(
                f"budget {self.targets[0].kind} with int8: only float32 files are written for it; "
                "leave int8 out"
            )
        self.left = TimeLeft(
            {
                "masks": settings.masks.steps(len(batches)),
                "fine_tune": settings.fine_tune.steps(len(batches)) * fine_tunings,
            }
        )
        self.distillation = Distillation(
            _frozen(model), settings.coefficient, settings.temperature, deployment.task
        )

    def at(self, settings: Settings) -> Training:
        """The same run with other settings of its phases."""
        found = copy.copy(self)
        found.settings = settings
        return found

    def train(self, comp: Compressor) -> Compression:
        """Both phases, and the network that they end in."""
        trail = self._trail(comp)
        with self.watch(comp) as watch:
            self.masks(comp, watch, trail.see)
            small = self.fine_tune(comp, watch)
        stem, counts = self.folder / "compressed", comp.counts()
        if is_first():
            save_shrunk(stem, self.model, small, **self.built, counts=counts)
        return Compression(comp, small.eval(), trail.networks(self.model), self)

    def finish(self, done: Compression, name: str) -> Compression:
        """Fine-tune a network of the trail too, under its masks as they were; goes on from its own
        checkpoint, and leaves it beside the first, as ``trail/2-fine-tuned``.

        Args:
            name: ``trail/2``.

        Raises:
            UsageError: it was not saved.
        """
        comp, trail = done.comp, self._trail(done.comp)
        folder = self.folder / f"{name}{FINE_TUNED}"
        if not is_saved(folder):
            at_the_end = copy.deepcopy(comp.state_dict())
            try:
                self._finish(comp, trail, name, folder)
            finally:
                comp.load_state_dict(at_the_end)
        return replace(done, trail=trail.networks(self.model))

    def _finish(self, comp: Compressor, trail: Trail, name: str, folder: Path) -> None:
        trail.take(name)
        folder.mkdir(exist_ok=True)
        left = TimeLeft({"fine_tune": self.settings.fine_tune.steps(len(self.batches))})
        with self._watch_beside(folder, comp, left) as watch:
            small = self.fine_tune(comp, watch, folder)
        if is_first():
            save_shrunk(folder, self.model, small.eval(), **self.built, counts=comp.counts())

    def _trail(self, comp: Compressor) -> Trail:
        return Trail(self.folder / "trail", comp, self.batches, self.settings.trail, self.built)

    def watch(self, comp: Compressor, sample: tuple[Path, int] | None = None) -> Watch:
        """What follows a training in the run's folder; a context.

        Args:
            sample: of a sample's fine-tuning, its folder, and how many were fine-tuned before it.
        """
        if sample is None:
            metric = self.deployment.task.metric
            return self.watcher.watch(self.folder, comp, self.left, metric)
        folder, number = sample
        steps = self.settings.fine_tune.steps(len(self.batches))
        return self._watch_beside(folder, comp, self.left.sample(number * steps, steps))

    def _watch_beside(self, folder: Path, comp: Compressor, left: TimeLeft) -> Watch:
        """What follows another training than the run's own: scalars are of one."""
        alone = replace(self.watcher, trackers=None)
        return alone.watch(folder, comp, left, self.deployment.task.metric)

    def masks(self, comp: Compressor, watch: Watch, on_tenth: Callable[[], object]) -> None:
        """The mask phase; ``on_tenth`` is called each tenth step until the masks are fixed."""

        def see() -> None:
            if not comp.fixed:
                on_tenth()

        watch.begin(0)
        self._phase("masks", comp, watch, self.folder, see)

    def fine_tune(self, comp: Compressor, watch: Watch, folder: Path | None = None) -> nn.Module:
        """Fine-tune what the fixed masks leave; returns it, physically smaller.

        Args:
            folder: of the checkpoint; by default the run's.
        """
        watch.begin(self.settings.masks.steps(len(self.batches)))
        folder = folder or self.folder
        if comp.space.sparse or comp.space.bits:  # zeros and grids are held by the masks
            self._phase("fine_tune", comp, watch, folder)
            return comp.shrink()
        small = comp.shrink()
        self._phase("fine_tune", small, watch, folder)
        return small

    def compressor(
        self, surrogate: Surrogate, original_s: float | None = None, *, measures: bool = True
    ) -> Compressor:
        """The compressor, its budget a share of the original's time as measured once per run.

        Args:
            measures: the masks are fixed by measuring; else by prediction alone.
        """
        if self.settings.times_few_bits:
            self.deployment = replace(self.deployment, surrogate=surrogate)
        original = self.folder / f"original{self.deployment.suffix}"
        first_s = from_first(lambda: self._time_of_original(original_s))
        self.watcher.on_stage("tracing the model")
        measured = None
        if self.settings.of_latency or not self.targets:
            measured = MeasuredNetworks(
                self.folder / "measured.json",
                lambda small: self._measure(original, first_s, small),
            )
        also = {}
        if self.settings.of_bytes and self.deployment.int8 is None:
            also["bytes"] = MeasuredNetworks(self.folder / "bytes.json", self.deployment.bytes_of)
        if self.settings.of_memory:
            taken = MeasuredNetworks(self.folder / "memory.json", self.deployment.memory_of)
            also["memory"] = taken
        comp = Compressor(
            copy_model(self.model),
            self.deployment.example_inputs,
            {
                "latency": Latency(surrogate, first_s, measured, self.deployment.int8),
                **{t.kind: self._latency_at(t, surrogate) for t in self.targets},
            },
            self.settings.budgets,
            blocks=self.settings.blocks,
            method=self.settings.method,
            steps=self.settings.masks.steps(len(self.batches)),
            measure=also,
        )
        if not measures:
            comp.measure.clear()
        if not (self.folder / "masks.checkpoint").exists():
            self.watcher.on_stage("trying a training step, a shrink and an export on a copy")
            with_labels = self.deployment.task.with_labels
            first = model_inputs(comp, next(iter(self.batches.epoch(0))), with_labels=with_labels)
            check_trainable(comp, first, suffix=self.deployment.suffix)
            phases = self.settings.masks, self.settings.fine_tune
            steps = sum(phase.steps(len(self.batches)) for phase in phases)
            if lag := lagging_statistics(self.model, steps):
                self.watcher.on_stage(lag)
        if is_first():
            save_json(self.folder / _ORIGINAL, _TIME, 1, {"latency_s": first_s})
        return comp

    def _latency_at(self, target: TokenTarget, surrogate: Surrogate) -> Latency:
        """Of a prefill, or of a step of decoding."""
        graph = target.graph(self.model, self.deployment.example_inputs)
        timed = self.folder / f"original.{target.name}.json"
        original = from_first(lambda: self.export_at(target, self.model.eval(), "original"))
        original_s = from_first(lambda: self._timed_once(timed, original))

        def measure(small: nn.Module) -> float:
            module, there = self._at(target, small.to("cpu"))
            return there.time_beside(original, original_s, module)

        known = self.folder / f"measured.{target.name}.json"
        return Latency(surrogate, original_s, MeasuredNetworks(known, measure), graph=graph)

    def export_at(self, target: TokenTarget, model: nn.Module, name: str) -> Path:
        """``name.prefill-512``, ``name.decode-512``, with the suffix of the device's runtime."""
        module, there = self._at(target, model)
        return there.export(module, f"{name}.{target.name}")

    def _at(self, target: TokenTarget, model: nn.Module) -> tuple[nn.Module, Deployment]:
        """What is exported of the model there, and the deployment with its inputs."""
        module, inputs = target.deployed(model, self.deployment.example_inputs)
        return module, replace(self.deployment, example_inputs=inputs)

    def _timed_once(self, timed: Path, file: Path) -> float:
        if not timed.is_file():
            self.watcher.on_stage(f"timing {file.stem}")
            save_json(timed, _TIME, 1, {"latency_s": self.deployment.time(file)[0]})
        return float(load_json(timed, _TIME, 1)["latency_s"])

    def _time_of_original(self, known_s: float | None) -> float:
        """Seconds, of this folder where it has them."""
        file, timed = self.deployment.export(self.model.eval(), "original"), self.folder / _ORIGINAL
        if timed.is_file():
            return float(load_json(timed, _TIME, 1)["latency_s"])
        if known_s is not None:
            return known_s
        self.watcher.on_stage("timing the original")
        return self.deployment.time(file)[0]

    def _measure(self, original: Path, original_s: float, small: nn.Module) -> float:
        self.watcher.on_stage("measuring the network that the masks leave")
        began_s = time.monotonic()
        latency_s = self.deployment.time_beside(original, original_s, small)
        # in the end once more with all networks, and then the layers
        self.left.measured(time.monotonic() - began_s, times=2 + self.settings.trail)
        return latency_s

    def _phase(
        self,
        name: str,
        module: nn.Module,
        watch: Watch,
        folder: Path,
        on_tenth: Callable[[], object] = lambda: None,
    ) -> None:
        def on_tick(tick: Tick) -> None:
            if watch.see(name, tick):
                on_tenth()

        train(
            module,
            self.batches,
            self.settings.masks if name == "masks" else self.settings.fine_tune,
            distillation=self.distillation,
            checkpoint=folder / f"{name}.checkpoint",
            seed=self.settings.seed,
            save_every_s=self.settings.save_every_s,
            on_tick=on_tick,
        )


def _frozen(model: nn.Module) -> nn.Module:
    teacher = copy_model(model).eval().requires_grad_(False)
    channels_last(teacher)
    return teacher
