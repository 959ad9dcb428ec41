"""From a network to the file that is deployed: ONNX, TFLite, int8; proven to compute the same."""

from __future__ import annotations

from latprof.compress.export._export import Check, export, load_check
from latprof.compress.export._export_int8 import Int8Export, Int8Warning, export_int8, file_accuracy
from latprof.compress.export._int8 import CHOICES

__all__ = [
    "CHOICES",
    "Check",
    "Int8Export",
    "Int8Warning",
    "export",
    "export_int8",
    "file_accuracy",
    "load_check",
]
