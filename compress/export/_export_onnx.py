"""Writing an ONNX file through torch's exporter, and running it to compare."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from latprof.compress.export._session import onnx_session
from latprof.compress.graph import Inputs, first_line, quiet
from latprof.errors import ExportError
from latprof.vocabulary import require

__all__ = ["write_onnx"]


def write_onnx(
    model: nn.Module,
    inputs: Inputs,
    arrays: Sequence[NDArray[Any]],
    path: Path,
    opset: int,
    dynamic_batch: bool,
) -> tuple[dict[str, NDArray[Any]], list[NDArray[Any]]]:
    """Write one self-contained checked file and run it on ``arrays``: (its inputs by name, in
    order, its outputs)."""
    onnx = require("onnx", extra="onnx", why="ONNX export")
    require("onnxscript", extra="onnx", why="ONNX export")
    given, shapes = inputs, None
    if dynamic_batch:
        given, shapes = _open_batch(model, inputs)
    name = type(model).__name__
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
        raise ExportError(f"{name}: ONNX export failed: {first_line(exc)}") from exc
    written = onnx.load(str(path), load_external_data=False)
    (had,) = (o.version for o in written.opset_import if o.domain in ("", "ai.onnx"))
    if had != opset:
        raise ExportError(
            f"{name}: opset {opset} cannot be had for it; the exporter writes opset {had}"
        )
    names = [i.name for i in written.graph.input]
    if len(names) != len(arrays):
        raise ExportError(
            f"{name}: the file has {len(names)} inputs; expected {len(arrays)}; "
            "leave out inputs that the forward does not use"
        )
    fed = dict(zip(names, arrays, strict=True))
    try:
        outputs = onnx_session(path).run(None, fed)
    except Exception as exc:
        raise ExportError(f"{name}: ONNX Runtime cannot run it: {first_line(exc)}") from exc
    return fed, outputs


def _open_batch(model: nn.Module, inputs: Inputs) -> tuple[Inputs, Any]:
    """Inputs of batch 2, for a batch of 1 would be taken for a constant; and the open dims."""
    twice = pytree.tree_map_only(
        Tensor, lambda t: torch.cat([t, t]) if t.ndim else t, (inputs.args, inputs.kwargs)
    )
    batch = torch.export.Dim.DYNAMIC
    named = inspect.signature(model.forward).bind(*twice[0], **twice[1]).arguments
    dims = pytree.tree_map(
        lambda v: {0: batch} if isinstance(v, Tensor) and v.ndim else None, dict(named)
    )
    return Inputs(*twice), dims
