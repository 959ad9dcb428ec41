"""The demo, step by step. Every figure it prints was measured on this machine, in this run."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
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
from latprof.pipeline.run import Settings, Workshop, compress_in, conclude
from latprof.report import _plots, progress_text, write_report
from latprof.surrogate import HeldOut, Surrogate, compare, fit, plot_fit
from latprof.tables import LatencyTable
from latprof.vocabulary import cache_dir
from latprof.zoo import fashion_mnist, mobilenet_v3_small

__all__ = ["FULL", "QUICK", "Scale", "run"]

NAME = "zoo:mobilenet_v3_small"

#: update(completed, total, description): one progress bar of one long step.
Bar = AbstractContextManager[Callable[..., None]]


@dataclass(frozen=True)
class Scale:
    """How much of everything: the full demo, or a quick look."""

    images: int
    n_shapes: int
    n_variants: int
    original: TrainSettings
    settings: Settings


FULL = Scale(40_000, 200, 14, TrainSettings(4), Settings())
QUICK = Scale(
    8_000,
    80,
    5,
    TrainSettings(2),
    Settings(masks=TrainSettings(2, lr=2e-3, final=0.5), fine_tune=TrainSettings(1, lr=2e-3)),
)


@dataclass(frozen=True)
class _Data:
    batches: TensorBatches
    test: tuple[Tensor, Tensor]


def run(
    scale: Scale,
    folder: Path,
    data: Path | None,
    bar: Callable[[str], Bar],
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Walk the road; returns the figures, and leaves every file in ``folder``.

    Steps whose result lies in the folder, or in the cache, are not done again.

    Args:
        data: folder with the FashionMNIST files, or None to find them.
        bar: opens a progress bar with this description.
        say: prints a line.
    """
    folder.mkdir(parents=True, exist_ok=True)
    loaded = _Data(*fashion_mnist(data, images=scale.images))
    model, example_inputs = mobilenet_v3_small()
    with open_device("local", runtime="onnxruntime", threads=1) as device:
        say(f"target: {device.target}")
        _original(model, scale, loaded, bar)
        share = accuracy(model, *loaded.test)
        say(f"original: accuracy {share:.2%} on {len(loaded.test[1])} test images")
        graph = trace(model, example_inputs)
        table = _table(scale, folder, device, model, graph, example_inputs, bar)
        surrogate = fit(table)
        _tell_fit(surrogate, table, say)
        workshop = Workshop(device, folder, example_inputs)
        with bar("masks") as update:
            done = compress_in(
                workshop,
                model,
                surrogate,
                scale.settings,
                loaded.batches,
                lambda row: update(row["step"], row["total"], progress_text(row)),
                original_s=next((m.latency_s for m in table.usable_models if m.name == NAME), None),
            )
        comp, small = done.comp, done.small
        say(f"budget {comp.goals}; channels {sum(graph.sizes)} -> {sum(comp.counts())}")
        uniform, counts = _uniform(scale, model, comp, workshop, loaded, bar)
        networks = {
            "original": (model, comp.space.sizes),
            "uniform": (uniform, counts),
            "compressed": (small, comp.counts()),
        }
        result = conclude(workshop, networks, done, loaded.test)
    images = loaded.test[0][:1000]
    file = Path(result["compressed"]["file"])
    result["agreement"] = {
        "masked_shrunk": agreement(comp.eval(), comp.shrink(), images),
        "shrunk_onnx": agreement(small, answer_of_file(file), images),
    }
    result["folder"] = str(folder)
    _pictures(surrogate, table, result)
    return result


def _tell_fit(surrogate: Surrogate, table: LatencyTable, say: Callable[[str], None]) -> None:
    held_out = compare(table)["auto"]
    if isinstance(held_out, HeldOut):
        say(
            f"held-out error of single ops: MAPE {held_out.mape:.1%}, "
            f"{held_out.within_10pct:.0%} within 10%, from {held_out.n_train} shapes"
        )
    composition = surrogate.composition
    if composition.held_out:
        say(
            f"held-out error of whole networks: MAPE {composition.mape:.1%}; "
            f"{composition.uncalibrated_mape:.1%} where ops are only added up"
        )


def _pictures(surrogate: Surrogate, table: LatencyTable, result: dict[str, Any]) -> None:
    folder = Path(result["folder"])
    plot_fit(surrogate, table, folder / "fit")
    figure = _plots.accuracy_against_latency(result)
    _plots.save(figure, folder / "accuracy_against_latency.png")
    write_report(folder)


def _original(model: nn.Module, scale: Scale, data: _Data, bar: Callable[[str], Bar]) -> None:
    """Train the original, or load it from the cache of an earlier run."""
    recipe = scale.original
    name = f"mobilenet_v3_small-{len(data.batches.images)}-{recipe.epochs}x{recipe.lr:g}.pt"
    cached = cache_dir() / name
    if cached.is_file():
        model.load_state_dict(torch.load(cached, weights_only=True))
        model.eval()
        return
    cached.parent.mkdir(parents=True, exist_ok=True)
    with bar("training the original") as update:
        train(
            model,
            data.batches,
            recipe,
            checkpoint=cached.with_suffix(".checkpoint"),
            on_tick=lambda tick: update(tick.step, tick.total),
        )
    part = cached.with_suffix(".part")
    torch.save(model.state_dict(), part)
    part.replace(cached)
    cached.with_suffix(".checkpoint").unlink()


def _table(
    scale: Scale,
    folder: Path,
    device: Device,
    model: nn.Module,
    graph: Graph,
    example_inputs: tuple[Any, ...],
    bar: Callable[[str], Bar],
) -> LatencyTable:
    path = folder / "local.parquet"
    with bar("measuring shapes") as update:
        profile_into(
            path,
            device,
            graph.workloads(),
            n_shapes=scale.n_shapes,
            on_event=lambda event: update(
                100 * event.fraction, 100, f"measuring shapes {event.done}/{event.total}"
            ),
        )
    with bar("measuring whole variants") as update:
        return calibrate_into(
            path,
            device,
            model,
            graph,
            example_inputs,
            name=NAME,
            n_variants=scale.n_variants,
            on_step=lambda done, total: update(done, total),
        )


def _uniform(
    scale: Scale,
    model: nn.Module,
    comp: Compressor,
    workshop: Workshop,
    data: _Data,
    bar: Callable[[str], Bar],
) -> tuple[nn.Module, list[int]]:
    """The original uniformly thinned to the compressed network's latency, and trained as long."""
    settings = scale.settings
    (measure,) = comp.measure.values()  # remembers, for a run that is killed
    wanted_s = aim_s = comp.cost()
    for _ in range(3):
        counts = uniform_counts(comp.space, comp.cost_model, aim_s)
        thin = shrink(model, comp.graph, largest(model, comp.graph, counts))
        measured_s = measure(thin)
        if abs(measured_s / wanted_s - 1) < 0.03:
            break
        aim_s *= wanted_s / measured_s
    with bar("training the uniformly thinned") as update:
        train(
            thin,
            data.batches,
            TrainSettings(
                settings.masks.epochs + settings.fine_tune.epochs, lr=settings.fine_tune.lr
            ),
            distillation=Distillation(model, settings.coefficient, settings.temperature),
            # of a table that was measured on, another width may be found
            checkpoint=workshop.folder / f"uniform-{sum(counts)}.checkpoint",
            seed=settings.seed,
            on_tick=lambda tick: update(tick.step, tick.total),
        )
    return thin, counts
