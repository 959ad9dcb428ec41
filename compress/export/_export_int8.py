"""From a network to an int8 file, its error and its gain stated."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from latprof.compress.export._check import Arrays, Check, load_check, save_check
from latprof.compress.export._export import export
from latprof.compress.export._int8 import CHOICES, Quantizer
from latprof.compress.graph import Inputs
from latprof.errors import ExportError, UsageError

__all__ = ["Int8Export", "Int8Warning", "export_int8", "file_accuracy"]

#: Of an earlier choice's time, a later one must take at most this share to be taken for it.
_MAX_TIME_SHARE = 0.98

#: Seconds of each file, timed side by side.
Measure = Callable[[Sequence[Path]], Sequence[float]]


class Int8Warning(UserWarning):
    """The int8 file is no faster than the float32 one."""


@dataclass(frozen=True)
class Int8Export:
    """An int8 file beside the network it came from, on the calibration data.

    Args:
        path: of the file.
        choice: what is int8: ``all`` ops with a kernel for it, ``contractions`` (convolutions and
            matrix products) or ``dense`` (contractions without depthwise convolutions).
        sqnr_db: signal to quantization noise of the outputs, decibels.
        top1_agreement: share of inputs with the same largest output; None where the first output
            is not (batch, classes).
        latency_s, float_latency_s: measured side by side, None where nothing was measured.
    """

    path: Path
    choice: str
    sqnr_db: float
    top1_agreement: float | None
    latency_s: float | None
    float_latency_s: float | None

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "path": str(self.path)}


def export_int8(
    model: nn.Module,
    example_inputs: Any,
    path: str | Path,
    calibration: Iterable[Any],
    *,
    measure: Measure | None = None,
    choice: str | None = None,
    min_sqnr_db: float = 10.0,
    reduce_range: bool | None = None,
) -> Int8Export:
    """Quantize the model in eval mode into an ``.onnx`` or ``.tflite`` file, and compare it with
    the model. Its inputs and outputs stay float32.

    Beside it lies ``NAME.check.npz`` with the network's own outputs, to verify it with later.

    Args:
        model: stays as it is.
        example_inputs: as for ``export``; their shapes become the file's.
        path: the suffix chooses the format; an existing file is replaced once the new one holds.
        calibration: batches of inputs, each a tensor, a tuple or a dict as ``example_inputs`` are,
            of any batch size; cut to that of the example, what is left over dropped. They set the
            ranges of the activations; a hundred or more typical inputs are wanted.
        measure: seconds of files, timed side by side on the target. With it the fastest of
            three choices of what becomes int8 is taken; without it, ``all``.
        choice: take this one.
        min_sqnr_db: a choice with more noise than this is not taken.
        reduce_range: weights of 7 bits, for ONNX Runtime on x86 CPUs without VNNI, where products
            of 8 overflow; by default where they do on this machine.

    Raises:
        UsageError: a suffix of no known format, no such folder, or no calibration inputs.
        MissingExtraError: the format's packages are not installed.
        ExportError: the exporter or the quantizer fails, or the error is too large.
    """
    path = Path(path)
    if path.suffix not in (".onnx", ".tflite"):
        raise UsageError(f"{path}: suffix is {path.suffix!r}; int8 export writes .onnx or .tflite")
    if choice not in (None, *CHOICES):
        raise UsageError(f"choice is {choice!r}; expected one of {', '.join(CHOICES)}")
    if reduce_range and path.suffix != ".onnx":
        raise UsageError(f"{path}: reduce_range is for .onnx; TFLite's kernels do not overflow")
    inputs = Inputs.of(example_inputs)
    with tempfile.TemporaryDirectory(prefix=f".{path.stem}.", dir=_folder(path)) as folder:
        original = export(model, example_inputs, Path(folder) / f"float{path.suffix}")
        feeds = list(_feeds(calibration, inputs, list(load_check(original).inputs)))
        if not feeds:
            raise UsageError("calibration has no whole batch of inputs; expected a hundred inputs")
        quantizer = _quantizer(original, feeds, reduce_range)
        wanted = quantizer.run(original)
        tried = (choice,) if choice else CHOICES if measure else CHOICES[:1]
        files = [quantizer.quantize(choice) for choice in tried]
        found = [_compare(wanted, quantizer.run(file)) for file in files]
        seconds = list(measure([original, *files])) if measure else []
        chosen = _fastest(seconds[1:], [sqnr >= min_sqnr_db for sqnr, _ in found])
        if chosen is None:
            raise ExportError(
                f"{path.name}: at best {max(s for s, _ in found):.1f} dB from the network; "
                f"expected {min_sqnr_db:g} dB; calibrate on more typical inputs"
            )
        files[chosen].replace(path)
    save_check(path, Check(feeds[0], wanted[0]))
    latency_s, float_s = (seconds[1 + chosen], seconds[0]) if seconds else (None, None)
    if latency_s is not None and float_s is not None and latency_s >= float_s:
        warnings.warn(
            f"{path.name} takes {latency_s / float_s:.2f} of the float32 file's time; "
            "deploy that one",
            Int8Warning,
            stacklevel=2,
        )
    return Int8Export(path, tried[chosen], *found[chosen], latency_s, float_s)


def file_accuracy(path: Path, example_inputs: Any, images: Tensor, labels: Tensor) -> float:
    """Top-1 share in [0, 1] of a file that ``export`` or ``export_int8`` wrote, on this machine;
    images that make no whole batch of the file's are left out.

    Args:
        images: (N, ...); labels: (N,).
    """
    feeds = list(_feeds([images], Inputs.of(example_inputs), list(load_check(path).inputs)))
    outputs = _quantizer(path, feeds, reduce_range=False).run(path)
    predictions = np.concatenate([first.argmax(-1) for first, *_ in outputs])
    return float((predictions == _array(labels)[: len(predictions)]).mean())


def _folder(path: Path) -> Path:
    if not path.parent.is_dir():
        raise UsageError(f"{path}: {path.parent} is no folder; create it first")
    return path.parent


def _quantizer(original: Path, feeds: Sequence[Arrays], reduce_range: bool | None) -> Quantizer:
    if original.suffix == ".onnx":
        from latprof.compress.export._int8_onnx import OnnxQuantizer
        from latprof.compress.export._int8_overflow import int8_overflows

        reduce_range = int8_overflows() if reduce_range is None else reduce_range
        return OnnxQuantizer(original, feeds, reduce_range=reduce_range)
    from latprof.compress.export.tflite import TfliteQuantizer

    return TfliteQuantizer(original, feeds)


def _feeds(calibration: Iterable[Any], inputs: Inputs, names: list[str]) -> Iterator[Arrays]:
    """Inputs by name, of the example's batch size."""
    sizes = [t.shape[0] for t in inputs.leaves]
    for batch in calibration:
        leaves = [_array(t) for t in Inputs.of(batch).leaves]
        if [a.shape[1:] for a in leaves] != [tuple(t.shape[1:]) for t in inputs.leaves]:
            raise UsageError(
                f"calibration inputs are {[a.shape for a in leaves]}; expected the shapes of "
                f"the example, {[tuple(t.shape) for t in inputs.leaves]}, but for the batch"
            )
        count = min(len(a) // size for a, size in zip(leaves, sizes, strict=True))
        for k in range(count):
            parts = [a[k * n : (k + 1) * n] for a, n in zip(leaves, sizes, strict=True)]
            yield dict(zip(names, parts, strict=True))


def _array(tensor: Tensor) -> NDArray[Any]:
    array: NDArray[Any] = tensor.detach().cpu().numpy()
    return array


def _compare(
    wanted: Sequence[list[NDArray[Any]]], got: Sequence[list[NDArray[Any]]]
) -> tuple[float, float | None]:
    """SQNR in decibels over all outputs, and the top-1 agreement of the first."""
    signal = sum(float(np.square(a, dtype=np.float64).sum()) for out in wanted for a in out)
    noise = sum(
        float(np.square(np.subtract(a, b, dtype=np.float64)).sum())
        for one, other in zip(wanted, got, strict=True)
        for a, b in zip(one, other, strict=True)
    )
    sqnr_db = 10 * np.log10(signal / noise) if noise and signal else np.inf if not noise else 0.0
    first = [(a[0], b[0]) for a, b in zip(wanted, got, strict=True)]
    if first[0][0].ndim != 2:
        return float(sqnr_db), None
    same = np.concatenate([a.argmax(1) == b.argmax(1) for a, b in first])
    return float(sqnr_db), float(same.mean())


def _fastest(seconds: Sequence[float], good: Sequence[bool]) -> int | None:
    """The first good choice that no later one beats by more than noise."""
    chosen = None
    for index in (i for i, ok in enumerate(good) if ok):
        if chosen is None or seconds[index] < _MAX_TIME_SHARE * seconds[chosen]:
            chosen = index
    return chosen
