from ._check import Arrays as Arrays
from ._check import Check as Check
from ._check import check_path as check_path
from ._check import load_check as load_check
from ._check import save_check as save_check
from ._export import export as export
from ._export_int8 import Int8Export as Int8Export
from ._export_int8 import Int8Warning as Int8Warning
from ._export_int8 import export_int8 as export_int8
from ._export_int8 import file_accuracy as file_accuracy
from ._export_tflite import LayoutWarning as LayoutWarning
from ._int8 import CHOICES as CHOICES
from ._pack import check_folded as check_folded
from ._pack import pack_onnx as pack_onnx
from ._session import onnx_session as onnx_session

__all__ = [
    "CHOICES",
    "Arrays",
    "Check",
    "Int8Export",
    "Int8Warning",
    "LayoutWarning",
    "check_folded",
    "check_path",
    "export",
    "export_int8",
    "file_accuracy",
    "load_check",
    "onnx_session",
    "pack_onnx",
    "save_check",
]
