"""ONNX Runtime on this machine's CPU, as every check and calibration here runs a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from latprof.vocabulary import require

__all__ = ["onnx_session"]

_ERRORS_ONLY = 3  # of ONNX Runtime's levels of severity


def onnx_session(path: Path) -> Any:
    """An ``onnxruntime.InferenceSession`` of the file."""
    runtime = require("onnxruntime", extra="onnx", why="running an ONNX file")
    options = runtime.SessionOptions()
    options.log_severity_level = _ERRORS_ONLY
    return runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
