"""From a network to the file that is deployed, proven to compute the same."""

from __future__ import annotations

import copy
import inspect
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from latprof.compress.graph import Inputs, evaluating, first_line, flat_outputs, quiet
from latprof.compress.shrink import TOLERANCE, random_inputs, relative_error
from latprof.errors import ExportError, UsageError
from latprof.vocabulary import require

__all__ = ["Check", "check_path", "export", "load_check", "save_check"]

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Check:
    """Inputs by name, and what the network makes of them, outputs in order."""

    inputs: Arrays
    outputs: list[NDArray[Any]]


def export(
    model: nn.Module,
    example_inputs: Any,
    path: str | Path,
    *,
    opset: int = 18,
    dynamic_batch: bool = False,
) -> Path:
    """Write the model in eval mode as ``.onnx`` or ``.tflite``, and compare it with the model.

    Everything is in the one file. Beside it lies ``NAME.check.npz``, to verify it with later.

    Args:
        model: stays as it is.
        example_inputs: a tensor, a tuple of positional inputs, or a dict of named ones. Their
            shapes become the file's.
        path: the suffix chooses the format; an existing file is replaced once the new one holds.
        opset: of ONNX.
        dynamic_batch: leave the first dim of every input open (ONNX only).

    Raises:
        UsageError: a suffix of no known format, or a folder that does not exist.
        MissingExtraError: the format's packages are not installed.
        ExportError: the exporter fails, or the file computes something else.
    """
    path = Path(path)
    if path.suffix not in (".onnx", ".tflite"):
        raise UsageError(f"{path}: suffix is {path.suffix!r}; expected .onnx or .tflite")
    if not path.parent.is_dir():
        raise UsageError(f"{path}: {path.parent} is no folder; create it first")
    inputs = Inputs.of(example_inputs)
    draft = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        with torch.no_grad(), evaluating(model):
            shown = random_inputs(inputs, seed=0)
            wanted = [t.detach().cpu() for t in flat_outputs(model(*shown.args, **shown.kwargs))]
            if path.suffix == ".onnx":
                names = _write_onnx(model, inputs, draft, opset, dynamic_batch)
                got = _run_onnx(draft, dict(zip(names, _numpy(shown), strict=True)))
            else:
                from latprof.compress.export._export_tflite import write_tflite

                names, got = write_tflite(model, inputs, shown, draft)
            error = relative_error(wanted, [torch.from_numpy(np.array(a)) for a in got])
            if not error <= TOLERANCE and not error <= 4 * _rounding(model, shown, wanted):
                raise ExportError(
                    f"{path.name}: it is {error:.2g} from the network (relative); "
                    f"expected at most {TOLERANCE:g}"
                )
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    save_check(
        path, Check(dict(zip(names, _numpy(shown), strict=True)), [t.numpy() for t in wanted])
    )
    return path


def check_path(path: Path) -> Path:
    """Where the check of an exported file lies."""
    return path.with_suffix(".check.npz")


def save_check(path: Path, check: Check) -> None:
    """Write the check of the exported file ``path`` beside it."""
    arrays = {f"input.{name}": a for name, a in check.inputs.items()}
    arrays |= {f"output.{i}": a for i, a in enumerate(check.outputs)}
    np.savez(check_path(path), **arrays)  # type: ignore[arg-type]


def load_check(path: Path) -> Check:
    """The check written beside the exported file ``path``.

    Raises:
        UsageError: there is none, or it cannot be read.
    """
    found = check_path(path)
    try:
        with np.load(found) as arrays:
            names = list(arrays)
            return Check(
                {n.removeprefix("input."): arrays[n] for n in names if n.startswith("input.")},
                [arrays[n] for n in names if n.startswith("output.")],
            )
    except (OSError, ValueError) as exc:
        raise UsageError(f"{found}: no check can be read ({exc}); export the model again") from exc


def _write_onnx(
    model: nn.Module, inputs: Inputs, path: Path, opset: int, dynamic_batch: bool
) -> list[str]:
    """Write one self-contained checked file; names of its inputs, in order."""
    onnx = require("onnx", extra="onnx", why="ONNX export")
    require("onnxscript", extra="onnx", why="ONNX export")
    given, shapes = inputs, None
    if dynamic_batch:
        given, shapes = _open_batch(model, inputs)
    try:
        with quiet():
            torch.onnx.export(
                model,
                given.args,
                str(path),
                kwargs=given.kwargs,
                dynamo=True,
                external_data=False,
                opset_version=opset,
                dynamic_shapes=shapes,
                verbose=False,
            )
        onnx.checker.check_model(str(path), full_check=True)
    except Exception as exc:
        raise ExportError(f"{type(model).__name__}: ONNX export failed: {first_line(exc)}") from exc
    graph = onnx.load(str(path), load_external_data=False).graph
    return [i.name for i in graph.input]


def _open_batch(model: nn.Module, inputs: Inputs) -> tuple[Inputs, Any]:
    """Inputs of batch 2, for a batch of 1 would be taken for a constant; and the open dims."""
    twice = torch.utils._pytree.tree_map_only(
        Tensor, lambda t: torch.cat([t, t]) if t.ndim else t, (inputs.args, inputs.kwargs)
    )
    batch = torch.export.Dim.DYNAMIC
    named = inspect.signature(model.forward).bind(*twice[0], **twice[1]).arguments
    dims = torch.utils._pytree.tree_map(
        lambda v: {0: batch} if isinstance(v, Tensor) and v.ndim else None, dict(named)
    )
    return Inputs(*twice), dims


def _run_onnx(path: Path, inputs: Arrays) -> list[NDArray[Any]]:
    ort = require("onnxruntime", extra="onnx", why="checking an ONNX file")
    options = ort.SessionOptions()
    options.log_severity_level = 3
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    found: list[NDArray[Any]] = session.run(None, inputs)
    return found


def _numpy(inputs: Inputs) -> list[NDArray[Any]]:
    return [t.detach().cpu().numpy() for t in inputs.leaves]


def _rounding(model: nn.Module, inputs: Inputs, wanted: Sequence[Tensor]) -> float:
    """How far the network itself is from its own float64 value on these inputs."""
    double = copy.deepcopy(model).double()
    args, kwargs = torch.utils._pytree.tree_map_only(
        Tensor, lambda t: t.double() if t.is_floating_point() else t, (inputs.args, inputs.kwargs)
    )
    return relative_error(flat_outputs(double(*args, **kwargs)), wanted)
