"""One compression run in a folder: masks, shrink, fine-tune, export, measure; resumable."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor, nn

from latprof.compress import (
    Batches,
    Block,
    Compressor,
    Distillation,
    Latency,
    Prune,
    Tick,
    TrainSettings,
    accuracy,
    export,
    export_int8,
    train,
)
from latprof.compress.cost import Budget, MacsCost
from latprof.compress.export import file_accuracy
from latprof.devices import Device, compare_files, measure_files
from latprof.errors import DeviceError, UsageError
from latprof.pipeline.run._layers import layers, staircases
from latprof.pipeline.run._measured import Measured
from latprof.pipeline.run._trail import Trail, save_small
from latprof.pipeline.run._watching import Progress, Watch
from latprof.surrogate import Surrogate
from latprof.vocabulary import Timing

if TYPE_CHECKING:
    from latprof.integrations import TensorBoard

__all__ = [
    "Compression",
    "Figures",
    "Settings",
    "Workshop",
    "compress_in",
    "conclude",
    "first_inputs",
]

#: Inputs that set the ranges of an int8 file.
_CALIBRATION = 128
#: Measurements of the same files before a busy device is given up.
_TRIES = 3


@dataclass(frozen=True)
class Settings:
    """What a run is asked to do; ``latprof compress`` reads it from RUN.toml.

    Args:
        budget: ``5 ms``, ``60%``, ``macs=50%``, ...; several with commas between.
        blocks: what may be done to the network.
        coefficient, temperature: of the distillation from the original.
        save_every_s: seconds of training that a kill may cost.
        trail: networks to leave on the way, evenly between the original and the budget.
        int8: files are int8 ones, and a latency is theirs.
    """

    budget: str = "60%"
    blocks: tuple[Block, ...] = (Prune(),)
    masks: TrainSettings = field(default_factory=lambda: TrainSettings(3, lr=2e-3, final=0.5))
    fine_tune: TrainSettings = field(default_factory=lambda: TrainSettings(2, lr=2e-3))
    coefficient: float = 0.5
    temperature: float = 3.0
    seed: int = 0
    save_every_s: float = 20.0
    trail: int = 0
    int8: bool = False

    def __post_init__(self) -> None:
        for text in self.budgets:
            Budget.parse(text)  # a slip of the pen is told before anything is measured

    @property
    def budgets(self) -> list[str]:
        return [text.strip() for text in self.budget.split(",")]


@dataclass(frozen=True)
class Figures:
    """What is compared: one network, measured."""

    accuracy: float
    latency_s: float
    predicted_s: float
    params: int
    macs: int
    file: str

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Workshop:
    """Where networks are exported to and timed.

    Args:
        device: open, with the runtime and settings of the surrogate's table.
        folder: of the run.
        example_inputs: at the batch size of deployment.
        int8: what is int8 in its files; None: nothing. See ``in_int8``.
        calibration: inputs for int8 files.
    """

    device: Device
    folder: Path
    example_inputs: tuple[Any, ...]
    int8: str | None = None
    calibration: tuple[Tensor, ...] = ()

    def in_int8(self, model: nn.Module, batches: Batches) -> Self:
        """The same workshop with int8 files; what is int8 is chosen by measuring ``model``, once
        per folder.

        Warns:
            Int8Warning: the int8 file of ``model`` is no faster than its float32 one.
        """
        inputs = tuple(first_inputs(batches, _CALIBRATION))
        chosen = self.folder / "int8.json"
        if not chosen.is_file():
            found = export_int8(
                model.eval(),
                self.example_inputs,
                self._path("original"),
                inputs,
                measure=lambda files: self.time(*files),
            )
            chosen.write_text(json.dumps(found.to_dict()) + "\n")
        int8 = str(json.loads(chosen.read_text())["choice"])
        return replace(self, int8=int8, calibration=inputs)

    def export(self, model: nn.Module, name: str) -> Path:
        """``name`` with the suffix of the device's runtime, in the folder."""
        path = self._path(name)
        if self.int8 is None:
            return export(model, self.example_inputs, path)
        # its accuracy is measured in the end, and says more than decibels
        return export_int8(
            model,
            self.example_inputs,
            path,
            self.calibration,
            choice=self.int8,
            min_sqnr_db=-math.inf,
        ).path

    def accuracy(self, model: nn.Module, file: Path, test: tuple[Tensor, Tensor]) -> float:
        """Top-1 share of what is deployed: of an int8 file itself."""
        if self.int8 is None:
            return accuracy(model, *test)
        return file_accuracy(file, self.example_inputs, *test)

    def _path(self, name: str) -> Path:
        suffix = ".tflite" if self.device.target.runtime == "tflite" else ".onnx"
        return self.folder / f"{name}{suffix}"

    def time(self, *files: Path) -> list[float]:
        """Seconds per file; see ``timings``."""
        return [timing.latency_s for timing in self.timings(*files)]

    def timings(self, *files: Path) -> list[Timing]:
        """Of each file, all timed in interleaved rounds; again where they were disturbed, or not
        all in the same weather.

        Raises:
            DeviceError: a file could not be timed.
        """
        for _ in range(_TRIES):
            timings = measure_files(self.device, files)
            if all(t.usable for t in timings) and len({t.status for t in timings}) == 1:
                break
        for file, timing in zip(files, timings, strict=True):
            if not timing.usable:
                raise DeviceError(f"{file} was not timed ({timing.detail}); is the device busy?")
        return timings

    def time_beside(self, original: Path, original_s: float, model: nn.Module) -> float:
        """Seconds of ``model``, as if timed in the weather in which ``original`` took its."""
        return original_s * self.ratios(original, self.export(model, "candidate"))[0]

    def ratios(self, original: Path, *files: Path) -> list[float]:
        """Latency of each file over that of ``original``, timed in turns."""
        return compare_files(self.device, [original, *files])[1:]


@dataclass(frozen=True)
class Compression:
    """What a run made.

    Args:
        comp: its masks fixed.
        small: shrunk and fine-tuned, in eval mode.
        trail: the networks left on the way, by name, each with its group counts.
    """

    comp: Compressor
    small: nn.Module
    trail: dict[str, tuple[nn.Module, list[int]]]


def compress_in(
    workshop: Workshop,
    model: nn.Module,
    surrogate: Surrogate,
    settings: Settings,
    batches: Batches,
    on_progress: Progress = lambda row: None,
    board: TensorBoard | None = None,
    original_s: float | None = None,
) -> Compression:
    """Train ``model``'s copy to the budget and shrink it; the original is left as it is.

    The folder holds the checkpoints of both phases, ``log.jsonl``, ``measured.json`` (seconds of
    the networks that were tried, by the digest of their tensors), and in the end the network as
    ``compressed.json`` and ``compressed.pt``; the same call goes on from the checkpoints after a
    kill, to the same weights.

    Args:
        original_s: the original's measured latency, where it is known; else it is timed.
    """
    folder = workshop.folder
    original = workshop.export(model.eval(), "original")
    timed = folder / "original.json"  # once per run: a share of another time is another budget
    if timed.is_file():
        original_s = float(json.loads(timed.read_text())["latency_s"])
    elif original_s is None:
        (original_s,) = workshop.time(original)
    teacher = _frozen(model)
    distillation = Distillation(teacher, settings.coefficient, settings.temperature)
    comp = Compressor(
        copy.deepcopy(model),
        workshop.example_inputs,
        Latency(
            surrogate,
            original_s,
            Measured(
                folder / "measured.json",
                lambda small: workshop.time_beside(original, original_s, small),
            ),
            workshop.int8,
        ),
        settings.budgets,
        blocks=settings.blocks,
        steps=settings.masks.epochs * len(batches),
    )
    _claim(folder, settings)
    timed.write_text(json.dumps({"latency_s": original_s}) + "\n")
    trail = Trail(folder / "trail", comp, batches, settings.trail)
    with Watch(folder, comp, on_progress, board) as watch:

        def phase(name: str, module: nn.Module, recipe: TrainSettings, after: int) -> None:
            watch.begin(after)

            def on_tick(tick: Tick) -> None:
                if watch.see(name, tick) and not comp.fixed:
                    trail.see()

            train(
                module,
                batches,
                recipe,
                distillation=distillation,
                checkpoint=folder / f"{name}.checkpoint",
                seed=settings.seed,
                save_every_s=settings.save_every_s,
                on_tick=on_tick,
            )

        phase("masks", comp, settings.masks, 0)
        after = settings.masks.epochs * len(batches)
        if comp.space.sparse or comp.space.bits:  # zeros and grids are held by the masks
            phase("fine_tune", comp, settings.fine_tune, after)
            small = comp.shrink()
        else:
            small = comp.shrink()
            phase("fine_tune", small, settings.fine_tune, after)
    save_small(folder / "compressed", model, small, comp.counts())
    return Compression(comp, small.eval(), trail.networks(model))


def conclude(
    workshop: Workshop,
    networks: dict[str, tuple[nn.Module, list[int]]],
    done: Compression,
    test: tuple[Tensor, Tensor],
) -> dict[str, Any]:
    """Export and measure networks in the same weather; writes and returns ``result.json``.

    Args:
        networks: by name, each with its unit counts; among them ``original`` and ``compressed``.
            Those of the trail are measured with them.
        test: inputs (N, ...) and labels (N,).
    """
    comp, every = done.comp, networks | done.trail
    files = {name: workshop.export(model, name) for name, (model, _) in every.items()}
    (timing,) = workshop.timings(files["original"])
    original_s, others = timing.latency_s, [name for name in every if name != "original"]
    ratios = workshop.ratios(files["original"], *(files[name] for name in others))
    share = {"original": 1.0, **dict(zip(others, ratios, strict=True))}
    macs = MacsCost(comp.space)
    # what is predicted holds for the conditions of the first timing
    today = original_s / comp.original_cost
    figures = {
        name: Figures(
            accuracy=workshop.accuracy(model, files[name], test),
            latency_s=original_s * share[name],
            predicted_s=today * comp.cost_model.exact(counts),
            params=sum(p.numel() for p in model.parameters()),
            macs=round(macs.exact(counts)),
            file=str(files[name]),
        ).to_dict()
        for name, (model, counts) in every.items()
    }
    compressed_s = figures["compressed"]["latency_s"]
    budgets = []
    for goal in comp.goals.each:
        timed = goal.cost is comp.cost_model
        limit = goal.budget.limit(original_s) if timed else goal.limit
        reached = compressed_s if timed else goal.cost.exact(comp.counts())
        kind, text = goal.budget.kind, goal.budget.text
        budgets.append({"kind": kind, "text": text, "limit": limit, "reached": reached})
    result = {
        "budget_s": next((b["limit"] for b in budgets if b["kind"] == "latency"), None),
        "budgets": budgets,
        **{name: figures[name] for name in networks},
        "trail": [{"name": name, **figures[name]} for name in done.trail],
        "detail": timing.detail,  # of the original, in turns with which all others are timed
        "target": workshop.device.target.to_dict(),
        "widths": comp.widths(),
        "layers": layers(comp, workshop.device),
        "staircases": staircases(comp),
    }
    (workshop.folder / "result.json").write_text(json.dumps(result, indent=1) + "\n")
    return result


def first_inputs(batches: Batches, count: int) -> Iterator[Tensor]:
    """The first ``count`` inputs of the first epoch, batch by batch."""
    for inputs, _ in batches.epoch(0):
        yield inputs[:count]
        count -= len(inputs)
        if count <= 0:
            return


def _claim(folder: Path, settings: Settings) -> None:
    """Make the folder this run's own; a checkpoint of other settings would be no use to it.

    Raises:
        UsageError: the folder holds a run of other settings.
    """
    path, mine = folder / "settings.json", json.loads(json.dumps(asdict(settings)))
    if path.is_file() and (theirs := json.loads(path.read_text())) != mine:
        differing = ", ".join(k for k in mine if mine[k] != theirs.get(k))
        raise UsageError(
            f"{folder} holds a run of other settings ({differing}); "
            "choose another folder, or remove this one"
        )
    path.write_text(json.dumps(mine, indent=1) + "\n")


def _frozen(model: nn.Module) -> nn.Module:
    teacher = copy.deepcopy(model).eval().requires_grad_(False)
    teacher.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return teacher
