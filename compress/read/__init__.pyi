from ._onnx_model import close_inputs as close_inputs
from ._onnx_nodes import OnnxNodes as OnnxNodes
from ._onnx_nodes import read_onnx_nodes as read_onnx_nodes
from ._tflite_workloads import tflite_op_workloads as tflite_op_workloads
from ._tflite_workloads import transposes as transposes
from ._workloads import workloads_of_file as workloads_of_file

__all__ = [
    "OnnxNodes",
    "close_inputs",
    "read_onnx_nodes",
    "tflite_op_workloads",
    "transposes",
    "workloads_of_file",
]
