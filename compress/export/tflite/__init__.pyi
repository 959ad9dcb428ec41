from ._few_bits import multiply_codes as multiply_codes
from ._file import save_tflite as save_tflite
from ._int8 import TfliteQuantizer as TfliteQuantizer
from ._pack import TFLITE_OP_BYTES as TFLITE_OP_BYTES
from ._pack import TFLITE_SCALE_BYTES as TFLITE_SCALE_BYTES
from ._pack import TFLITE_SPARSE_BYTES as TFLITE_SPARSE_BYTES
from ._pack import check_decoded_once as check_decoded_once
from ._pack import pack_tflite as pack_tflite
from ._write import LayoutWarning as LayoutWarning
from ._write import run_tflite as run_tflite
from ._write import write_tflite as write_tflite

__all__ = [
    "TFLITE_OP_BYTES",
    "TFLITE_SCALE_BYTES",
    "TFLITE_SPARSE_BYTES",
    "LayoutWarning",
    "TfliteQuantizer",
    "check_decoded_once",
    "multiply_codes",
    "pack_tflite",
    "run_tflite",
    "save_tflite",
    "write_tflite",
]
