"""Writing a TFLite file through litert-torch, and running it to compare."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from latprof.compress.graph import Inputs, first_line, quiet
from latprof.errors import ExportError
from latprof.vocabulary import require

__all__ = ["LayoutWarning", "outputs_in_order", "run_tflite", "silent", "write_tflite"]


class LayoutWarning(UserWarning):
    """The file turns between layouts at run time, which costs latency."""


def write_tflite(
    model: nn.Module, inputs: Inputs, arrays: Sequence[NDArray[Any]], path: Path
) -> tuple[dict[str, NDArray[Any]], list[NDArray[Any]]]:
    """Write the file and run it on ``arrays``: (its inputs by name, in order, its outputs)."""
    with silent():
        converter = require("litert_torch", extra="tflite-export", why="TFLite export")
    try:
        with silent():
            edge = converter.convert(model, inputs.args, inputs.kwargs or None)
            edge.export(str(path))
    except Exception as exc:
        raise ExportError(
            f"{type(model).__name__}: TFLite export failed: {first_line(exc)}"
        ) from exc
    _mind_layout(path)
    with silent():
        run = _runner(path)
        details = run.get_input_details()
        names = list(details)
        if len(names) != len(arrays):
            raise ExportError(f"{path.name}: it has {len(names)} inputs; expected {len(arrays)}")
        # litert-torch names inputs args_0, args_1, ..., or as the keywords, in the order given
        order = sorted(names, key=_position) if not inputs.kwargs else names
        # int64 becomes int32
        kinds = [details[name]["dtype"] for name in order]
        fed = {n: a.astype(k) for n, a, k in zip(order, arrays, kinds, strict=True)}
        made = run(**fed)
    return fed, outputs_in_order(made)


def run_tflite(path: Path, fed: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
    """Outputs of the file for inputs by name."""
    with silent():
        return outputs_in_order(_runner(path)(**fed))


def _runner(path: Path) -> Any:
    runtime = require("ai_edge_litert.interpreter", extra="tflite", why="checking a TFLite file")
    return runtime.Interpreter(model_path=str(path)).get_signature_runner()


def outputs_in_order(made: Mapping[str, Any]) -> list[NDArray[Any]]:
    """What a signature gave, as litert-torch numbers its outputs."""
    return [np.asarray(made[name]) for name in sorted(made, key=_position)]


def _position(name: str) -> tuple[str, int]:
    """``output_10`` comes after ``output_9``."""
    stem, _, number = name.rpartition("_")
    return (stem, int(number)) if number.isdigit() else (name, 0)


def _mind_layout(path: Path) -> None:
    from latprof.compress.read import transposes

    if count := transposes(path):
        warnings.warn(
            f"the TFLite file turns {count} tensors between layouts as it runs, which costs "
            "latency; a model that takes (batch, H, W, C) turns fewer",
            LayoutWarning,
            stacklevel=4,
        )


@contextmanager
def silent() -> Iterator[None]:
    """The converter and the interpreter also write to the process's own stderr."""
    with quiet(), Path(os.devnull).open("w") as nowhere:
        saved = [os.dup(1), os.dup(2)]
        try:
            for stream in (1, 2):
                os.dup2(nowhere.fileno(), stream)
            yield
        finally:
            for stream, copy in zip((1, 2), saved, strict=True):
                os.dup2(copy, stream)
                os.close(copy)
