"""int8 TFLite graphs, as post-training quantization writes them (the TFLite 8-bit specification).

Activations are int8 with one scale; convolution weights are symmetric with a scale per output
channel, matrices with one; biases are int32 in the product's scale.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from latprof.devices.agent.runtimes._base import Array, Refused
from latprof.devices.agent.runtimes._tflite_graph import TfliteGraph

__all__ = ["Int8Graph"]

_INT8, _INT32 = 9, 2
_ACTIVATION_SCALE = 0.05  # the range of the normals that inputs are filled with, and some room

#: Output (scale, zero point) that the specification fixes.
_FIXED = {"SOFTMAX": (1 / 256, -128), "LOGISTIC": (1 / 256, -128), "TANH": (1 / 128, 0)}
#: Ops whose output keeps the input's scale.
_KEEP = ("AVERAGE_POOL_2D", "MAX_POOL_2D")
#: Ops with weights, and the dimension of their per-channel scales; None for one scale.
_WEIGHTED = {"CONV_2D": 0, "DEPTHWISE_CONV_2D": 3, "FULLY_CONNECTED": None}

#: Ops that no converter writes in int8, and the workloads that they are of.
_IN_FLOATS = {
    "GATHER": "embedding", "NEG": "neg", "RSQRT": "rsqrt", "SQUARE": "square",
    "SQUARED_DIFFERENCE": "layer_norm",
}  # fmt: skip


class Int8Graph(TfliteGraph):
    """A graph whose float32 tensors are all quantized."""

    versions: ClassVar[dict[str, int]] = {
        "ADD": 2, "AVERAGE_POOL_2D": 2, "BATCH_MATMUL": 2, "CONV_2D": 3, "DEPTHWISE_CONV_2D": 3,
        "FULLY_CONNECTED": 4, "GELU": 2, "LOGISTIC": 2, "MAX_POOL_2D": 2, "MEAN": 2, "MUL": 2,
        "RELU": 2, "RELU6": 2, "SOFTMAX": 2, "SUB": 2, "TANH": 2,
    }  # fmt: skip

    def __init__(self) -> None:
        super().__init__()
        self._floats: dict[int, Array] = {}  # constants, as they were given

    def constant(self, values: Array) -> int:
        if values.dtype != np.float32:
            return super().constant(values)
        tensor = super().constant(values)
        self._floats[tensor] = values
        self._store(tensor, None)
        return tensor

    def op(
        self,
        op: str,
        inputs: list[int],
        shape: tuple[int, ...],
        options: str = "",
        values: dict[str, Any] | None = None,
    ) -> int:
        if op in _IN_FLOATS:
            raise Refused(f"{_IN_FLOATS[op]} in int8: converters leave it in float32")
        if op in _WEIGHTED:
            self._store(inputs[1], _WEIGHTED[op])
            self._store_bias(inputs[2], self._scales(inputs[0]) * self._scales(inputs[1]))
        out = super().op(op, inputs, shape, options, values)
        if op in _FIXED:
            scale, zero = _FIXED[op]
            self._quantization[out] = (np.array([scale]), np.array([zero]), 0)
        elif op in _KEEP:
            self._quantization[out] = self._quantization[inputs[0]]
        return out

    def _tensor(self, name: str, shape: tuple[int, ...], dtype: str, buffer: int = 0) -> int:
        if dtype != "float32":
            return super()._tensor(name, shape, dtype, buffer)
        tensor = super()._tensor(name, shape, "int8", buffer)
        self._quantization[tensor] = (np.array([_ACTIVATION_SCALE]), np.array([0]), 0)
        return tensor

    def _scales(self, tensor: int) -> Array:
        return self._quantization[tensor][0]

    def _store(self, tensor: int, axis: int | None) -> None:
        """Quantize a constant, symmetric, with one scale or one per index of ``axis``."""
        values = self._floats[tensor]
        others = tuple(i for i in range(values.ndim) if i != axis)
        largest = np.abs(values).max(axis=None if axis is None else others, keepdims=True)
        scales = np.maximum(largest / 127, 1e-9)
        self._write(tensor, np.round(values / scales).astype(np.int8), _INT8)
        flat = scales.reshape(-1)
        self._quantization[tensor] = (flat, np.zeros(flat.size), axis or 0)

    def _store_bias(self, tensor: int, scales: Array) -> None:
        steps = np.round(self._floats[tensor] / scales)
        self._write(tensor, steps.astype(np.int32), _INT32)
        wide = np.broadcast_to(scales, scales.shape)
        self._quantization[tensor] = (wide, np.zeros(wide.size), 0)

    def _write(self, tensor: int, values: Array, type_: int) -> None:
        name, shape, _, buffer = self._tensors[tensor]
        self._tensors[tensor] = (name, shape, type_, buffer)
        self._buffers[buffer] = values.tobytes()
