"""The files that are deployed, and their time on the device."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from latprof.compress import (
    Batches,
    Classification,
    Judgment,
    Task,
    evaluate,
    export,
    export_int8,
    judge,
    workloads_of_file,
)
from latprof.compress.export import file_accuracy
from latprof.compress.graph import Inputs
from latprof.compress.masks import from_first
from latprof.compress.train import held_out_batches
from latprof.devices import Device, Usage, compare_files, measure_files, measure_usage
from latprof.errors import DeviceError, UsageError
from latprof.surrogate import Surrogate
from latprof.vocabulary import Timing, load_json, save_json
from latprof.workloads import MatMul

__all__ = ["Deployment", "first_inputs"]

#: Inputs that set the ranges of an int8 file.
_CALIBRATION_INPUTS = 128
#: Measurements of the same files before those beside background load are used.
_MAX_TRIES = 2


@dataclass(frozen=True)
class Deployment:
    """How networks are deployed: the files they are exported to, and the device that times them.

    Args:
        device: open, with the runtime and settings of the surrogate's table.
        folder: of the run.
        example_inputs: at the batch size of deployment.
        int8: what is int8 in its files; None: nothing. See ``in_int8``.
        calibration: inputs for int8 files.
        task: what the networks are trained for, and judged by.
        pack: float32 files store each weight in its smallest encoding.
        surrogate: in packed files linear layers have weights of few bits where it predicts that
            they are faster so; None: nowhere.
    """

    device: Device
    folder: Path
    example_inputs: tuple[Any, ...]
    int8: str | None = None
    calibration: tuple[Tensor, ...] = ()
    task: Task = field(default_factory=Classification)
    pack: bool = False
    surrogate: Surrogate | None = None

    def in_int8(self, model: nn.Module, batches: Batches) -> Self:
        """The same deployment with int8 files; what is int8 is chosen by measuring ``model``, once
        per folder.

        Warns:
            Int8Warning: the int8 file of ``model`` is no faster than its float32 one.
        """
        inputs = tuple(first_inputs(batches, _CALIBRATION_INPUTS))
        int8 = from_first(lambda: self._int8_choice(model, inputs))
        return replace(self, int8=int8, calibration=inputs)

    def _int8_choice(self, model: nn.Module, inputs: tuple[Tensor, ...]) -> str:
        chosen = self.folder / "int8.json"
        if not chosen.is_file():
            found = export_int8(
                model.eval(),
                self.example_inputs,
                self._path("original"),
                inputs,
                measure=lambda files: self.time(*files),
            )
            save_json(chosen, "int8 choice", 1, found.to_dict())
        return str(load_json(chosen, "int8 choice", 1)["choice"])

    @property
    def suffix(self) -> str:
        """Of the files that the device's runtime reads."""
        return ".tflite" if self.device.target.runtime == "tflite" else ".onnx"

    def export(self, model: nn.Module, name: str) -> Path:
        """``name`` with the suffix of the device's runtime, in the folder."""
        path = self._path(name)
        if self.int8 is None:
            surrogate = self.surrogate if self.pack else None
            return export(model, self.example_inputs, path, pack=self.pack, surrogate=surrogate)
        # its accuracy is measured in the end, and says more than decibels
        return export_int8(
            model,
            self.example_inputs,
            path,
            self.calibration,
            choice=self.int8,
            min_sqnr_db=-math.inf,
        ).path

    def accuracy(self, model: nn.Module, file: Path, test: Any) -> float:
        """The task's figure of what is deployed: of an int8 file itself; of one with weights of few
        bits, whose inputs the runtime rounds, itself too where it is top-1 of one tensor.

        Args:
            test: (inputs, labels), a Dataset or a DataLoader.

        Raises:
            UsageError: an int8 file of another task than top-1 of one tensor of inputs.
        """
        if self.int8 is None:
            if self.rounds_inputs(file) and _is_plain(self.task, self.example_inputs, test):
                return file_accuracy(file, self.example_inputs, *_whole(test))
            return evaluate(model, test, self.task)
        if type(self.task) is not Classification:
            raise UsageError(
                f"int8 files are judged by top-1 alone, and the metric is {self.task.metric}; "
                "leave out int8, or task, loss and metric"
            )
        return file_accuracy(file, self.example_inputs, *_whole(test))

    def rounds_inputs(self, file: Path) -> bool:
        """Whether layers of the file have weights of few bits."""
        if self.surrogate is None:
            return False
        return any(isinstance(w, MatMul) and w.weight_bits for w in workloads_of_file(file))

    def judge(self, model: nn.Module, file: Path, data: Any) -> Judgment:
        """As ``accuracy``, with its standard error.

        Raises:
            UsageError: an int8 file of another task than top-1 of one tensor of inputs.
        """
        if self.int8 is None:
            return judge(model, data, self.task)
        rows = len(_whole(data)[1])
        return Judgment.of_share(self.accuracy(model, file, data), rows)

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}{self.suffix}"

    def time(self, *files: Path) -> list[float]:
        """Seconds per file; see ``timings``."""
        return [timing.latency_s for timing in self.timings(*files)]

    def timings(self, *files: Path) -> list[Timing]:
        """Of each file, all timed in interleaved rounds; again where readings were discarded, or
        where background load hit some files alone.

        Raises:
            DeviceError: a file could not be timed.
        """
        for _ in range(_MAX_TRIES):
            timings = measure_files(self.device, files)
            if all(t.usable for t in timings) and len({t.status for t in timings}) == 1:
                break
        for file, timing in zip(files, timings, strict=True):
            if not timing.samples_s:  # figures beside background load are flagged, not lost
                raise DeviceError(f"{file} was not timed ({timing.detail}); is the device busy?")
        return timings

    def time_beside(self, original: Path, original_s: float, model: nn.Module) -> float:
        """Seconds of ``model``, as if timed under the conditions in which ``original`` took
        ``original_s``."""
        return original_s * self.ratios(original, self.export(model.to("cpu"), "candidate"))[0]

    def bytes_of(self, model: nn.Module) -> int:
        """Of the file that ``model`` becomes."""
        return self.export(model.to("cpu"), "candidate").stat().st_size

    def usage(self, file: Path) -> Usage:
        """What a file takes on the device in memory and in energy."""
        return measure_usage(self.device, file)

    def memory_of(self, model: nn.Module) -> float:
        """Bytes that ``model`` takes on the device.

        Raises:
            UsageError: the device does not tell.
        """
        usage = self.usage(self.export(model.to("cpu"), "candidate"))
        if usage.memory_bytes is None:
            raise UsageError(
                f"a budget of memory needs a device that tells what a model takes, and "
                f"{self.device.target.device} does not: {usage.missing['memory']}"
            )
        return usage.memory_bytes

    def ratios(self, original: Path, *files: Path) -> list[float]:
        """Latency of each file over that of ``original``, timed in turns."""
        return compare_files(self.device, [original, *files])[1:]


def _is_plain(task: Task, example_inputs: Any, test: Any) -> bool:
    """Whether a file can be judged by itself: top-1, of one tensor of inputs."""
    if type(task) is not Classification or len(Inputs.of(example_inputs).leaves) != 1:
        return False
    first = test if isinstance(test, tuple) else next(iter(held_out_batches(test)))
    return len(first) == 2 and all(isinstance(part, Tensor) for part in first)


def _whole(test: Any) -> tuple[Tensor, Tensor]:
    """Inputs and labels as one tensor each."""
    if isinstance(test, tuple):
        return test
    pairs = [tuple(batch) for batch in held_out_batches(test)]
    if any(len(pair) != 2 or not isinstance(pair[0], Tensor) for pair in pairs):
        raise UsageError("int8 files are judged on batches (inputs, labels) of tensors")
    return torch.cat([inputs for inputs, _ in pairs]), torch.cat([labels for _, labels in pairs])


def first_inputs(batches: Batches, count: int) -> Iterator[Tensor]:
    """The first ``count`` inputs of the first epoch, batch by batch."""
    for inputs, _ in batches.epoch(0):
        yield inputs[:count]
        count -= len(inputs)
        if count <= 0:
            return
