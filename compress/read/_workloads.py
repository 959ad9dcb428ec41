"""Workloads of an exported file, in the vocabulary that ``trace`` uses; no torch needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from latprof.errors import ModelLoadError
from latprof.workloads import ModelWorkloads

__all__ = ["workloads_of_file"]


def workloads_of_file(
    path: str | Path, inputs: Mapping[str, Sequence[int]] = MappingProxyType({})
) -> ModelWorkloads:
    """One per op that takes time, in the order of the file, and what is in none of them.

    Args:
        path: an ``.onnx`` or ``.tflite`` file; its weights are not read.
        inputs: {name: shape} of inputs whose dims the file leaves open, beyond the batch.

    Raises:
        ModelLoadError: no such file, not a model, or open dims without a shape.
        UsageError: a shape for no input of the file, or one that does not fit.
        MissingExtraError: the format's reader is not installed.
    """
    path = Path(path)
    if not path.is_file():
        raise ModelLoadError(f"MODEL {path}: no such file")
    if path.suffix == ".onnx":
        from latprof.compress.read._onnx_workloads import onnx_workloads

        return onnx_workloads(path, inputs)
    if path.suffix == ".tflite":
        from latprof.compress.read._tflite_workloads import tflite_workloads

        return tflite_workloads(path, inputs)
    raise ModelLoadError(f"MODEL {path}: suffix is {path.suffix!r}; expected .onnx or .tflite")
