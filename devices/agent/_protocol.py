"""What both ends of the agent's protocol share: version, runtimes, arrays as text."""

from __future__ import annotations

import base64
import io

import numpy as np

from latprof.devices.agent.runtimes._base import Array

__all__ = [
    "GPU_RUNTIME_MODULES",
    "PROTOCOL_VERSION",
    "RUNTIME_MODULES",
    "decode_arrays",
    "encode_arrays",
]

# Protocol history
# 1: first.
# 2: hello names a GPU, and may carry what an earlier process made; prepare may name nothing.
# 3: watch, and what measure says of the sentinel.
# 4: a sentinel of the memory.
PROTOCOL_VERSION = 4

#: Runtime name -> (module, class); a module imports its runtime's package at the top.
RUNTIME_MODULES = {
    "onnxruntime": ("latprof.devices.agent.runtimes._onnxruntime", "OnnxRuntime"),
    "tflite": ("latprof.devices.agent.runtimes._tflite", "TfliteRuntime"),
    "torch": ("latprof.devices.agent.runtimes._torch", "TorchRuntime"),
}
#: The same on a GPU.
GPU_RUNTIME_MODULES = {
    "cuda": ("latprof.devices.agent.cuda._runtime", "CudaRuntime"),
    "onnxruntime": ("latprof.devices.agent.cuda._onnxruntime", "OnnxRuntimeOnGpu"),
    "torch": ("latprof.devices.agent.cuda._torch", "TorchOnGpu"),
}


def encode_arrays(arrays: dict[str, Array]) -> dict[str, str]:
    """Arrays as base64 of NumPy's own format, which is safe to load: never pickles."""
    encoded = {}
    for name, array in arrays.items():
        buffer = io.BytesIO()
        np.save(buffer, array, allow_pickle=False)
        encoded[name] = base64.b64encode(buffer.getvalue()).decode()
    return encoded


def decode_arrays(encoded: dict[str, str]) -> dict[str, Array]:
    return {
        name: np.load(io.BytesIO(base64.b64decode(text)), allow_pickle=False)
        for name, text in encoded.items()
    }
