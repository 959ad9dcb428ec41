from ._check import Arrays as Arrays
from ._check import Check as Check
from ._check import check_path as check_path
from ._check import load_check as load_check
from ._check import save_check as save_check
from ._encodings import CODE_BITS as CODE_BITS
from ._encodings import best_encoding as best_encoding
from ._encodings import bitmap_bytes as bitmap_bytes
from ._encodings import node_bytes as node_bytes
from ._encodings import offsets_bytes as offsets_bytes
from ._export import export as export
from ._export_int8 import Int8Export as Int8Export
from ._export_int8 import Int8Warning as Int8Warning
from ._export_int8 import export_int8 as export_int8
from ._export_int8 import file_accuracy as file_accuracy
from ._few_bits import FEW_BITS_ROUNDING as FEW_BITS_ROUNDING
from ._few_bits import choose_width as choose_width
from ._few_bits import let_inputs_be_rounded as let_inputs_be_rounded
from ._few_bits import measured_widths as measured_widths
from ._few_bits import store_few_bits as store_few_bits
from ._int8 import CHOICES as CHOICES
from ._pack import check_folded as check_folded
from ._pack import pack_onnx as pack_onnx
from ._session import onnx_session as onnx_session
from .tflite import TFLITE_OP_BYTES as TFLITE_OP_BYTES
from .tflite import TFLITE_SCALE_BYTES as TFLITE_SCALE_BYTES
from .tflite import TFLITE_SPARSE_BYTES as TFLITE_SPARSE_BYTES
from .tflite import LayoutWarning as LayoutWarning
from .tflite import check_decoded_once as check_decoded_once
from .tflite import multiply_codes as multiply_codes
from .tflite import pack_tflite as pack_tflite
from .tflite import save_tflite as save_tflite

__all__ = [
    "CHOICES",
    "CODE_BITS",
    "FEW_BITS_ROUNDING",
    "TFLITE_OP_BYTES",
    "TFLITE_SCALE_BYTES",
    "TFLITE_SPARSE_BYTES",
    "Arrays",
    "Check",
    "Int8Export",
    "Int8Warning",
    "LayoutWarning",
    "best_encoding",
    "bitmap_bytes",
    "check_decoded_once",
    "check_folded",
    "check_path",
    "choose_width",
    "export",
    "export_int8",
    "file_accuracy",
    "let_inputs_be_rounded",
    "load_check",
    "measured_widths",
    "multiply_codes",
    "node_bytes",
    "offsets_bytes",
    "onnx_session",
    "pack_onnx",
    "pack_tflite",
    "save_check",
    "save_tflite",
    "store_few_bits",
]
