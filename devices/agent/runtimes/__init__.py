"""The runtimes a device runs models through. They run inside the agent, on the device host.

Names load on first use: no host has every runtime's package. ``__init__.pyi`` lists them.
"""

import importlib
import os
from typing import Any

# ONNX Runtime writes an identifier of the device and a queue of telemetry into the user's cache
# folder as soon as it is imported, unless this says otherwise. Nothing of ours stays on a host.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

_MODULES = {
    "OnnxRuntime": "_onnxruntime",
    "TfliteRuntime": "_tflite",
    "TorchRuntime": "_torch",
    "write_onnx": "_onnx_model",
    "write_onnx_few_bits": "_onnx_few_bits",
    "write_onnx_int8": "_onnx_int8",
    "write_tflite": "_tflite_model",
}

__all__ = list(_MODULES)


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return list(__all__)
