"""The two phases of a run in its folder: masks, then fine-tuning; resumable."""

from __future__ import annotations

import time
from collections.abc import Mapping
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
    save_shrunk,
    train,
)
from latprof.compress.graph import copy_model
from latprof.compress.train import channels_last, check_trainable, model_inputs
from latprof.pipeline.run._deployment import Deployment
from latprof.pipeline.run._folder import claim, model_digest, require_same_run
from latprof.pipeline.run._measured import MeasuredNetworks
from latprof.pipeline.run._settings import Settings
from latprof.pipeline.run._time_left import TimeLeft
from latprof.pipeline.run._trail import Trail
from latprof.pipeline.run._watching import Watch, Watcher
from latprof.surrogate import Surrogate
from latprof.vocabulary import load_json, save_json

__all__ = ["Compression", "compress_in"]


@dataclass(frozen=True)
class Compression:
    """What the training of a run gave.

    Args:
        comp: its masks fixed.
        small: shrunk and fine-tuned, in eval mode.
        trail: the networks saved on the way, by name, each with its group counts.
        deployment: how they were exported and measured.
    """

    comp: Compressor
    small: nn.Module
    trail: dict[str, tuple[nn.Module, list[int]]]
    deployment: Deployment


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
    fingerprint = {
        **settings.to_text(),
        "weights": model_digest(model),
        "target": str(deployment.device.target),
        **(asked or {}),
    }
    require_same_run(deployment.folder, fingerprint)
    settings.check_files(deployment.suffix)
    deployment = replace(deployment, pack=settings.thins or settings.of_bytes)
    run = _Run(deployment, model, settings, batches, watcher or Watcher(), source)
    comp = run.compressor(surrogate, original_s)
    claim(deployment.folder, fingerprint)
    run.watcher.on_start()
    return run.train(comp)


class _Run:
    """One call of ``compress_in``."""

    def __init__(
        self,
        deployment: Deployment,
        model: nn.Module,
        settings: Settings,
        batches: Batches,
        watcher: Watcher,
        source: Mapping[str, Any] | None,
    ) -> None:
        self.built = {} if source is None else {"source": source}
        self.deployment, self.model, self.settings = deployment, model, settings
        self.batches, self.watcher, self.folder = batches, watcher, deployment.folder
        phases = {"masks": settings.masks, "fine_tune": settings.fine_tune}
        self.left = TimeLeft({name: each.steps(len(batches)) for name, each in phases.items()})
        self.distillation = Distillation(
            _frozen(model), settings.coefficient, settings.temperature, deployment.task
        )

    def train(self, comp: Compressor) -> Compression:
        trail = Trail(self.folder / "trail", comp, self.batches, self.settings.trail, self.built)
        metric = self.deployment.task.metric
        with self.watcher.watch(self.folder, comp, self.left, metric) as watch:
            self._phase("masks", comp, watch, comp, trail)
            if comp.space.sparse or comp.space.bits:  # zeros and grids are held by the masks
                self._phase("fine_tune", comp, watch, comp, trail)
                small = comp.shrink()
            else:
                small = comp.shrink()
                self._phase("fine_tune", small, watch, comp, trail)
        stem = self.folder / "compressed"
        save_shrunk(stem, self.model, small, **self.built, counts=comp.counts())
        return Compression(comp, small.eval(), trail.networks(self.model), self.deployment)

    def compressor(self, surrogate: Surrogate, original_s: float | None) -> Compressor:
        """The compressor, its budget a share of the original's time as measured once per run."""
        original = self.deployment.export(self.model.eval(), "original")
        timed = self.folder / "original.json"
        if timed.is_file():
            original_s = float(load_json(timed, "time of the original", 1)["latency_s"])
        elif original_s is None:
            self.watcher.on_stage("timing the original")
            (original_s,) = self.deployment.time(original)
        first_s = original_s
        self.watcher.on_stage("tracing the model")
        sized = None
        if self.settings.of_bytes and self.deployment.int8 is None:
            sized = MeasuredNetworks(self.folder / "bytes.json", self.deployment.bytes_of)
        comp = Compressor(
            copy_model(self.model),
            self.deployment.example_inputs,
            Latency(
                surrogate,
                first_s,
                MeasuredNetworks(
                    self.folder / "measured.json",
                    lambda small: self._measure(original, first_s, small),
                ),
                self.deployment.int8,
            ),
            self.settings.budgets,
            blocks=self.settings.blocks,
            method=self.settings.method,
            steps=self.settings.masks.steps(len(self.batches)),
            measure_bytes=sized,
        )
        if not (self.folder / "masks.checkpoint").exists():
            self.watcher.on_stage("trying a training step, a shrink and an export on a copy")
            with_labels = self.deployment.task.with_labels
            first = model_inputs(comp, next(iter(self.batches.epoch(0))), with_labels=with_labels)
            check_trainable(comp, first, suffix=self.deployment.suffix)
        save_json(timed, "time of the original", 1, {"latency_s": first_s})
        return comp

    def _measure(self, original: Path, original_s: float, small: nn.Module) -> float:
        self.watcher.on_stage("measuring the network that the masks leave")
        began_s = time.monotonic()
        latency_s = self.deployment.time_beside(original, original_s, small)
        # in the end once more with all networks, and then the layers
        self.left.measured(time.monotonic() - began_s, times=2 + self.settings.trail)
        return latency_s

    def _phase(
        self, name: str, module: nn.Module, watch: Watch, comp: Compressor, trail: Trail
    ) -> None:
        is_masks = name == "masks"
        watch.begin(0 if is_masks else self.settings.masks.steps(len(self.batches)))

        def on_tick(tick: Tick) -> None:
            if watch.see(name, tick) and not comp.fixed:
                trail.see()

        train(
            module,
            self.batches,
            self.settings.masks if is_masks else self.settings.fine_tune,
            distillation=self.distillation,
            checkpoint=self.folder / f"{name}.checkpoint",
            seed=self.settings.seed,
            save_every_s=self.settings.save_every_s,
            on_tick=on_tick,
        )


def _frozen(model: nn.Module) -> nn.Module:
    teacher = copy_model(model).eval().requires_grad_(False)
    channels_last(teacher)
    return teacher
