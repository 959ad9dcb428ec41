"""What both ends of the agent's protocol share: version, runtimes, arrays as JSON."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

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
# 3: a sentinel, and what measure says of it.
# 4: a sentinel of the memory.
# 5: requests are numbered and answers repeat the number; measure takes how long it may wait;
#    settings have types; arrays are a dtype, a shape and bytes.
# 6: profile.
# 7: usage.
PROTOCOL_VERSION = 7

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


def encode_arrays(arrays: Mapping[str, Array]) -> dict[str, Any]:
    """Arrays as JSON-ready dtype, shape and base64 of their bytes."""
    return {
        name: {
            "dtype": array.dtype.name,
            "shape": list(array.shape),
            "data": base64.b64encode(np.ascontiguousarray(array).tobytes()).decode(),
        }
        for name, array in arrays.items()
    }


def decode_arrays(encoded: Mapping[str, Any]) -> dict[str, Array]:
    """Inverse of encode_arrays. Raises ValueError, TypeError or KeyError where it is none."""
    arrays = {}
    for name, fields in encoded.items():
        dtype = np.dtype(str(fields["dtype"]))
        if dtype.kind not in "biuf":
            raise ValueError(f"{name} is an array of {dtype}; expected numbers")
        data = base64.b64decode(fields["data"], validate=True)
        arrays[name] = np.frombuffer(data, dtype).reshape(fields["shape"]).copy()
    return arrays
