"""The demo, step by step. Every figure it prints was measured on this machine, in this run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from latprof.compress import (
    Compressor,
    Distillation,
    Graph,
    TensorBatches,
    TrainSettings,
    accuracy,
    largest,
    shrink,
    trace,
    train,
    uniform_counts,
)
from latprof.devices import Device, open_device
from latprof.pipeline import agreement, answer_of_file, calibrate_into, profile_into
from latprof.pipeline.run import (
    Compression,
    Deployment,
    Settings,
    Watcher,
    compress_in,
    conclude,
    locked,
)
from latprof.report import plot_networks, progress_text, write_report
from latprof.surrogate import HeldOut, Surrogate, compare, fit, plot_fit
from latprof.tables import LatencyTable
from latprof.vocabulary import RunResult, cache_dir
from latprof.zoo import fashion_mnist, mobilenet_v3_small

__all__ = ["FULL", "QUICK", "Scale", "demo"]

NAME = "zoo:mobilenet_v3_small"

#: update(completed, total, description): one progress bar of one long step.
Bar = AbstractContextManager[Callable[..., None]]


@contextmanager
def _silent(description: str) -> Iterator[Callable[..., None]]:
    yield lambda *update: None


@contextmanager
def _one_core_left() -> Iterator[None]:
    """Train on all cores but one. So small a network gains 15% from a second core, and loses half
    where another process has it."""
    threads = torch.get_num_threads()
    torch.set_num_threads(max(1, threads - 1))
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@dataclass(frozen=True)
class Scale:
    """How much of everything: the full demo, or a quick look.

    Args:
        images: to train on.
        n_shapes, n_variants: single ops and whole networks to measure.
        original: how the original is trained.
        settings: of the run.
        uniform: train a uniformly thinned network of the same latency as well, to compare.
    """

    images: int
    n_shapes: int
    n_variants: int
    original: TrainSettings
    settings: Settings
    uniform: bool = True


FULL = Scale(40_000, 200, 14, TrainSettings(4), Settings())
QUICK = Scale(
    8_000,
    80,
    5,
    TrainSettings(2),
    Settings(masks=TrainSettings(2, lr=2e-3, final=0.5), fine_tune=TrainSettings(1, lr=2e-3)),
    uniform=False,
)


@dataclass(frozen=True)
class _Data:
    batches: TensorBatches
    test: tuple[Tensor, Tensor]


def demo(
    *,
    quick: bool = False,
    data: str | Path | None = None,
    out: str | Path | None = None,
    bar: Callable[[str], Bar] = _silent,
    on_stage: Callable[[str], None] = lambda text: None,
) -> RunResult:
    """Profile this CPU, fit, compress MobileNetV3-Small to 60% of its latency, verify.

    Steps whose result lies in the folder, or in the cache, are not done again.

    Args:
        quick: fewer images, shapes and epochs, and no uniformly thinned network beside.
        data: folder with FashionMNIST's four .gz files, or None to find them.
        out: run folder; ``latprof-demo`` or ``latprof-demo-quick`` by default.
        bar: opens a progress bar with this description.
        on_stage: called with what is done now.

    Raises:
        UsageError: no data, or the folder is in use or holds another run.

    Example:
        >>> latprof.demo(quick=True).met  # doctest: +SKIP
        True
    """
    folder = Path(out or ("latprof-demo-quick" if quick else "latprof-demo"))
    scale = QUICK if quick else FULL
    with locked(folder), _one_core_left():
        loaded = _Data(*fashion_mnist(Path(data) if data else None, images=scale.images))
        with open_device("local", runtime="onnxruntime", threads=1) as device:
            return _Demo(scale, folder, loaded, device, bar, on_stage).run()


@dataclass(frozen=True)
class _Demo:
    scale: Scale
    folder: Path
    data: _Data
    device: Device
    bar: Callable[[str], Bar]
    on_stage: Callable[[str], None]

    def run(self) -> RunResult:
        model, example_inputs = mobilenet_v3_small()
        self.on_stage(f"target: {self.device.target}")
        self._train_original(model)
        top1 = accuracy(model, *self.data.test)
        self.on_stage(f"original: accuracy {top1:.2%} on {len(self.data.test[1])} test images")
        graph = trace(model, example_inputs)
        table = self._table(model, graph, example_inputs)
        surrogate = fit(table)
        self._report_fit(surrogate, table)
        deployment = Deployment(self.device, self.folder, example_inputs)
        with self.bar("training") as update:
            watcher = Watcher(
                lambda row: update(row["share"], 1.0, progress_text(row), left_s=row["left_s"]),
                self.on_stage,
            )
            done = compress_in(
                deployment,
                model,
                surrogate,
                self.scale.settings,
                self.data.batches,
                watcher,
                original_s=next((m.latency_s for m in table.usable_models if m.name == NAME), None),
            )
        comp = done.comp
        self.on_stage(f"budget {comp.goals}; channels {sum(graph.sizes)} -> {sum(comp.counts())}")
        networks: dict[str, tuple[nn.Module, list[int]]] = {"original": (model, comp.space.sizes)}
        if self.scale.uniform:
            networks["uniform"] = self._uniform(model, comp, deployment)
        networks["compressed"] = (done.small, comp.counts())
        result = conclude(deployment, networks, done, self.data.test, self.on_stage)
        result = replace(result, agreement=self._agreement(done, Path(result.compressed.file)))
        result.save(self.folder / "result.json")
        self._draw(surrogate, table, result)
        return result

    def _agreement(self, done: Compression, file: Path) -> dict[str, float]:
        images = self.data.test[0][:1000]
        return {
            "masked and shrunk": agreement(done.comp.eval(), done.comp.shrink(), images),
            "shrunk and onnx": agreement(done.small, answer_of_file(file), images),
        }

    def _report_fit(self, surrogate: Surrogate, table: LatencyTable) -> None:
        held_out = compare(table)["auto"]
        if isinstance(held_out, HeldOut):
            self.on_stage(
                f"held-out error of single ops: MAPE {held_out.mape:.1%}, "
                f"{held_out.within_10pct:.0%} within 10%, from {held_out.n_train} shapes"
            )
        composition = surrogate.composition
        if composition.held_out:
            self.on_stage(
                f"held-out error of whole networks: MAPE {composition.mape:.1%}; "
                f"{composition.uncalibrated_mape:.1%} where ops are only added up"
            )

    def _draw(self, surrogate: Surrogate, table: LatencyTable, result: RunResult) -> None:
        self.on_stage("drawing pictures and the report")
        plot_fit(surrogate, table, self.folder / "fit")
        plot_networks(result, self.folder / "accuracy_against_latency.png")
        write_report(self.folder)

    def _train_original(self, model: nn.Module) -> None:
        """Train the original, or load it from the cache of an earlier run."""
        recipe, batches = self.scale.original, self.data.batches
        name = f"mobilenet_v3_small-{len(batches.images)}-{recipe.epochs}x{recipe.lr:g}.pt"
        cached = cache_dir() / name
        if cached.is_file():
            model.load_state_dict(torch.load(cached, weights_only=True))
            model.eval()
            return
        cached.parent.mkdir(parents=True, exist_ok=True)
        with self.bar("training the original") as update:
            train(
                model,
                batches,
                recipe,
                checkpoint=cached.with_suffix(".checkpoint"),
                on_tick=lambda tick: update(tick.step, tick.total),
            )
        part = cached.with_suffix(".part")
        torch.save(model.state_dict(), part)
        part.replace(cached)
        cached.with_suffix(".checkpoint").unlink()

    def _table(
        self, model: nn.Module, graph: Graph, example_inputs: tuple[Any, ...]
    ) -> LatencyTable:
        path = self.folder / "local.parquet"
        with self.bar("measuring shapes") as update:
            profile_into(
                path,
                self.device,
                graph.workloads(),
                n_shapes=self.scale.n_shapes,
                on_event=lambda event: update(
                    100 * event.fraction, 100, f"measuring {event.total} shapes"
                ),
            )
        with self.bar("measuring whole variants") as update:
            return calibrate_into(
                path,
                self.device,
                model,
                graph,
                example_inputs,
                name=NAME,
                n_variants=self.scale.n_variants,
                on_step=lambda done, total: update(done, total),
            )

    def _uniform(
        self, model: nn.Module, comp: Compressor, deployment: Deployment
    ) -> tuple[nn.Module, list[int]]:
        """The original uniformly thinned to the compressed network's latency, trained as long."""
        settings = self.scale.settings
        (measure,) = comp.measure.values()  # remembers, for a run that is killed
        target_s = aim_s = comp.cost()
        for _ in range(3):
            counts = uniform_counts(comp.space, comp.cost_model, aim_s)
            thin = shrink(model, comp.graph, largest(model, comp.graph, counts))
            measured_s = measure(thin)
            if abs(measured_s / target_s - 1) < 0.03:
                break
            aim_s *= target_s / measured_s
        with self.bar("training the uniformly thinned") as update:
            train(
                thin,
                self.data.batches,
                TrainSettings(
                    settings.masks.epochs + settings.fine_tune.epochs, lr=settings.fine_tune.lr
                ),
                distillation=Distillation(model, settings.coefficient, settings.temperature),
                # another width may follow from a table that was measured on meanwhile
                checkpoint=deployment.folder / f"uniform-{sum(counts)}.checkpoint",
                seed=settings.seed,
                on_tick=lambda tick: update(tick.step, tick.total),
            )
        return thin, counts
