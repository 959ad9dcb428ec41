from ._module import load_onnx_module as load_onnx_module

__all__ = ["load_onnx_module"]
