"""Workloads of an exported file, in the vocabulary that ``trace`` uses; no torch needed."""

from __future__ import annotations

from pathlib import Path

from latprof.errors import ModelLoadError
from latprof.workloads import Workload

__all__ = ["workloads_of_file"]


def workloads_of_file(path: str | Path) -> list[Workload]:
    """One per op that takes time, in the order of the file.

    Raises:
        ModelLoadError: no such file, not a model, or shapes left open.
        MissingExtraError: the format's reader is not installed.
    """
    path = Path(path)
    if not path.is_file():
        raise ModelLoadError(f"MODEL {path}: no such file")
    if path.suffix == ".onnx":
        from latprof.compress.read._onnx_workloads import onnx_workloads

        return onnx_workloads(path)
    if path.suffix == ".tflite":
        from latprof.compress.read._tflite_workloads import tflite_workloads

        return tflite_workloads(path)
    raise ModelLoadError(f"MODEL {path}: suffix is {path.suffix!r}; expected .onnx or .tflite")
