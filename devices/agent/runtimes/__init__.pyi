from ._onnx_few_bits import write_onnx_few_bits as write_onnx_few_bits
from ._onnx_int8 import write_onnx_int8 as write_onnx_int8
from ._onnx_model import write_onnx as write_onnx
from ._onnxruntime import OnnxRuntime as OnnxRuntime
from ._tflite import TfliteRuntime as TfliteRuntime
from ._tflite_model import write_tflite as write_tflite
from ._torch import TorchRuntime as TorchRuntime

__all__ = [
    "OnnxRuntime",
    "TfliteRuntime",
    "TorchRuntime",
    "write_onnx",
    "write_onnx_few_bits",
    "write_onnx_int8",
    "write_tflite",
]
