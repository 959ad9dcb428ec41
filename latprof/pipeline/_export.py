"""``export``: the file to deploy, in float32, packed, or int8."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from latprof.compress import Int8Export, export_int8
from latprof.compress import export as export_module
from latprof.devices import open_device
from latprof.errors import UsageError
from latprof.models import load_model, load_weights
from latprof.pipeline.run import Deployment, first_inputs
from latprof.surrogate import fit_file
from latprof.vocabulary import load_callable

__all__ = ["ExportResult", "export"]


@dataclass(frozen=True)
class ExportResult:
    """A file that was written and proven to compute the same.

    Args:
        path: of the file.
        int8: of an int8 file, its error and its time; None for float32.
    """

    path: Path
    int8: Int8Export | None = None

    def __fspath__(self) -> str:
        return str(self.path)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; what ``--json`` prints."""
        return {"path": str(self.path)} if self.int8 is None else self.int8.to_dict()


def export(
    model: str | nn.Module,
    example_inputs: Any = None,
    out: str | Path = "model.onnx",
    *,
    weights: str | Path | None = None,
    int8: bool = False,
    data: str | None = None,
    images: int = 128,
    device: str = "local",
    threads: int = 1,
    trust: bool = False,
    opset: int = 18,
    pack: bool = False,
    float16: bool = False,
    table: str | Path | None = None,
) -> ExportResult:
    """Write ``model`` as a file; an int8 file's error is measured, and what becomes int8 is chosen
    by measuring on ``device``.

    Args:
        model: MODEL string, or a module.
        example_inputs: of a module: a tensor, a tuple of positional inputs or a dict of named
            ones, at the batch size of deployment; a MODEL string brings its own.
        out: file to write, .onnx or .tflite.
        weights: state dict to load into the model first.
        int8: quantize activations and weights.
        data: with int8: ``package.module:callable`` that returns (batches, test), as a RUN.toml's.
        images: with int8: inputs to calibrate on.
        opset: of an ONNX file.
        pack: store each weight of an ONNX file in the fewest bytes that give it back exactly;
            ONNX Runtime decodes them as it loads, and runs the file as fast.
        float16: with pack, round the other weights to float16.
        table: with pack, a latency table with rows of few bits: linear layers whose weights lie on
            a grid of 2 to 8 bits are computed in so many where they are predicted to be faster.
        trust: load a ``.pt2`` file whatever it holds; it can run any code.
        device, threads: with int8: where the file is timed beside the float32 one.

    Raises:
        ExportError: the file would not compute what the model computes. UsageError: bad argument.

    Example:
        >>> latprof.export(small, example_inputs, "small.onnx").path  # doctest: +SKIP
        PosixPath('small.onnx')
    """
    if int8 != (data is not None):
        raise UsageError("int8 and data go together: an int8 file is calibrated on that data")
    if table is not None and not pack:
        raise UsageError("table is for weights of few bits in a packed file; give pack too")
    if int8 and pack:
        raise UsageError("int8 and pack do not go together: an int8 file has its codes already")
    if images < 1:
        raise UsageError(f"images is {images}; expected at least 1")
    module, inputs = (
        (model, example_inputs) if isinstance(model, nn.Module) else _load(model, trust)
    )
    if weights is not None:
        load_weights(module, Path(weights))
    path = Path(out)
    surrogate = None if table is None else fit_file(table)
    if data is None:
        return ExportResult(
            export_module(
                module,
                inputs,
                path,
                opset=opset,
                pack=pack,
                float16=float16,
                surrogate=surrogate,
            )
        )
    batches, _ = load_callable(data)()
    runtime = "tflite" if path.suffix == ".tflite" else "onnxruntime"
    with open_device(device, runtime=runtime, threads=threads) as opened:
        deployment = Deployment(opened, path.parent, inputs)
        found = export_int8(
            module,
            inputs,
            path,
            first_inputs(batches, images),
            measure=lambda files: deployment.time(*files),
        )
    return ExportResult(found.path, found)


def _load(model: str, trust: bool) -> tuple[nn.Module, Any]:
    module, example_inputs, _ = load_model(model, trust=trust)
    return module, example_inputs
