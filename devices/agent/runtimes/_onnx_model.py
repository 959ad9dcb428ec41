"""Writes ONNX models of one workload, straight in protobuf's wire format.

The agent builds its models where they run, so a device host needs no ``onnx`` package and no
weights travel. Only the few message fields used here are written; numbers are the field ids of
onnx.proto.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import numpy as np

from latprof.devices.agent.runtimes._base import LOOKED_UP, Array, Refused, fill
from latprof.workloads import Conv2d, Elementwise, MatMul, Pool, Workload

__all__ = ["OnnxGraph", "write_onnx"]

_IR_VERSION, _OPSET = 9, 20
_TYPES = {"float32": 1, "int8": 3, "uint8": 2, "int32": 6, "int64": 7, "float16": 10}

_UNARY: dict[str, tuple[str, dict[str, Any]]] = {
    "gelu": ("Gelu", {}),
    "hard_sigmoid": ("HardSigmoid", {"alpha": 1 / 6, "beta": 0.5}),
    "hard_swish": ("HardSwish", {}),
    "neg": ("Neg", {}),
    "relu": ("Relu", {}),
    "sigmoid": ("Sigmoid", {}),
    "softmax": ("Softmax", {"axis": -1}),
    "tanh": ("Tanh", {}),
}


def write_onnx(workload: Workload) -> bytes:
    """A one-op ONNX model of a float workload: activations are inputs, weights are constants.

    Maps are (batch, c, h, w); layer_norm and mean work on (batch, tokens, c), embedding on
    (batch, tokens) ids.
    """
    if workload.dtype == "int8":
        raise Refused(f"ONNX {workload.kind} in int8: expected float32 or float16 here")
    if isinstance(workload, MatMul) and (workload.weight_bits or workload.pattern):
        raise Refused(f"ONNX {workload.label}: expected all weights, and of the dtype, here")
    graph = OnnxGraph(workload.dtype)
    match workload:
        case Conv2d():
            _conv(graph, workload)
        case MatMul():
            _matmul(graph, workload)
        case Elementwise(op="embedding"):
            _embedding(graph, workload)
        case Elementwise():
            _elementwise(graph, workload)
        case Pool():
            _pool(graph, workload)
        case _:
            raise Refused(f"ONNX has no writer for {workload.kind}")
    return graph.serialize()


def _conv(graph: OnnxGraph, w: Conv2d) -> None:
    x = graph.input("x", (w.batch, w.c_in, w.h, w.w))
    fan_in = w.c_in // w.groups * w.kernel**2
    weight = graph.constant((w.c_out, w.c_in // w.groups, w.kernel, w.kernel), fan_in**-0.5)
    out = graph.node(
        "Conv",
        [x, weight, graph.constant((w.c_out,))],
        kernel_shape=[w.kernel] * 2,
        strides=[w.stride] * 2,
        dilations=[w.dilation] * 2,
        pads=[w.padding] * 4,
        group=w.groups,
    )
    graph.output(out, (w.batch, w.c_out, w.h_out, w.w_out))


def _matmul(graph: OnnxGraph, w: MatMul) -> None:
    if not w.weights:
        left = graph.input("a", (w.batch, w.m, w.k))
        right = graph.input("b", (w.batch, w.k, w.n))
        graph.output(graph.node("MatMul", [left, right]), (w.batch, w.m, w.n))
        return
    bias = graph.constant((w.n,))
    if w.batch == 1:
        x = graph.input("x", (w.m, w.k))
        out = graph.node("Gemm", [x, graph.constant((w.n, w.k), w.k**-0.5), bias], transB=1)
        graph.output(out, (w.m, w.n))
        return
    x = graph.input("x", (w.batch, w.m, w.k))
    product = graph.node("MatMul", [x, graph.constant((w.k, w.n), w.k**-0.5)])
    graph.output(graph.node("Add", [product, bias]), (w.batch, w.m, w.n))


def _embedding(graph: OnnxGraph, w: Elementwise) -> None:
    tokens = (w.batch, w.h * w.w)
    ids = graph.input("ids", tokens, "int64")
    out = graph.node("Gather", [graph.constant((LOOKED_UP, w.c)), ids])
    graph.output(out, (*tokens, w.c))


def _elementwise(graph: OnnxGraph, w: Elementwise) -> None:
    tokens = w.op in ("layer_norm", "mean")
    shape = (w.batch, w.h * w.w, w.c) if tokens else (w.batch, w.c, w.h, w.w)
    x = graph.input("x", shape)
    if w.op in ("add", "mul", "scale"):
        other = graph.input("y", (w.batch, w.c, 1, 1) if w.op == "scale" else shape)
        out = graph.node("Add" if w.op == "add" else "Mul", [x, other])
    elif w.op == "relu6":
        low, high = graph.scalar(0.0), graph.scalar(6.0)
        out = graph.node("Clip", [x, low, high])
    elif w.op == "silu":
        out = graph.node("Mul", [x, graph.node("Sigmoid", [x])])
    elif w.op == "square":
        out = graph.node("Pow", [x, graph.scalar(2.0)])
    elif w.op == "rsqrt":  # as the exporter writes it
        out = graph.node("Reciprocal", [graph.node("Sqrt", [x])])
    elif w.op == "mean":
        out = graph.node("ReduceMean", [x, graph.array(np.array([-1], np.int64))], keepdims=1)
        shape = (w.batch, w.h * w.w, 1)
    elif w.op == "layer_norm":
        weights = [graph.constant((w.c,)), graph.constant((w.c,))]
        out = graph.node("LayerNormalization", [x, *weights], axis=-1)
    else:
        op_type, attributes = _UNARY[w.op]
        out = graph.node(op_type, [x], **attributes)
    graph.output(out, shape)


def _pool(graph: OnnxGraph, w: Pool) -> None:
    x = graph.input("x", (w.batch, w.c, w.h, w.w))
    if w.op == "global_avg":
        out = graph.node("GlobalAveragePool", [x])
    else:
        out = graph.node(
            "AveragePool" if w.op == "avg" else "MaxPool",
            [x],
            kernel_shape=[w.kernel] * 2,
            strides=[w.stride] * 2,
            pads=[w.padding] * 4,
        )
    graph.output(out, (w.batch, w.c, w.h_out, w.w_out))


class OnnxGraph:
    """A graph under construction; every method returns the name of the tensor it makes."""

    def __init__(self, dtype: str = "float32") -> None:
        self.dtype = dtype
        self._nodes: list[bytes] = []
        self._inputs: list[bytes] = []
        self._outputs: list[bytes] = []
        self._constants: list[bytes] = []
        self._domains = {""}
        self._count = 0

    def input(self, name: str, shape: Sequence[int], dtype: str = "") -> str:
        self._inputs.append(self._value_info(name, shape, dtype))
        return name

    def output(self, name: str, shape: Sequence[int]) -> None:
        self._outputs.append(self._value_info(name, shape))

    def constant(self, shape: tuple[int, ...], scale: float = 1.0) -> str:
        """Random weights."""
        return self.array(fill(shape, self._count, scale).astype(self.dtype))

    def scalar(self, value: float) -> str:
        return self.array(np.asarray(value, self.dtype))

    def array(self, values: Array) -> str:
        name = self._fresh()
        tensor = b"".join(_int(1, d) for d in values.shape)
        tensor += _int(2, _TYPES[values.dtype.name]) + _text(8, name)
        self._constants.append(tensor + _bytes(9, values.tobytes()))
        return name

    def node(
        self, op_type: str, inputs: Sequence[str], *, domain: str = "", **attributes: Any
    ) -> str:
        out = self._fresh()
        self._domains.add(domain)
        fields = b"".join(_text(1, i) for i in inputs) + _text(2, out)
        fields += _text(4, op_type) + _text(7, domain)
        fields += b"".join(_bytes(5, _attribute(k, v)) for k, v in attributes.items())
        self._nodes.append(fields)
        return out

    def serialize(self) -> bytes:
        graph = b"".join(_bytes(1, n) for n in self._nodes) + _text(2, "latprof")
        graph += b"".join(_bytes(5, c) for c in self._constants)
        graph += b"".join(_bytes(11, i) for i in self._inputs)
        graph += b"".join(_bytes(12, o) for o in self._outputs)
        opsets = b"".join(
            _bytes(8, _text(1, domain) + _int(2, 1 if domain else _OPSET))
            for domain in sorted(self._domains)
        )
        return _int(1, _IR_VERSION) + _text(2, "latprof") + _bytes(7, graph) + opsets

    def _fresh(self) -> str:
        self._count += 1
        return f"t{self._count}"

    def _value_info(self, name: str, shape: Sequence[int], dtype: str = "") -> bytes:
        dims = b"".join(_bytes(1, _int(1, d)) for d in shape)
        tensor_type = _int(1, _TYPES[dtype or self.dtype]) + _bytes(2, dims)
        return _text(1, name) + _bytes(2, _bytes(1, tensor_type))


def _attribute(name: str, value: Any) -> bytes:
    """AttributeProto; its types are FLOAT 1, INT 2, INTS 7."""
    if isinstance(value, float):
        return _text(1, name) + _varint(2 << 3 | 5) + struct.pack("<f", value) + _int(20, 1)
    if isinstance(value, int):
        return _text(1, name) + _int(3, value) + _int(20, 2)
    return _text(1, name) + b"".join(_int(8, v) for v in value) + _int(20, 7)


def _varint(value: int) -> bytes:
    value &= (1 << 64) - 1  # negative numbers go as their 64-bit complement
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _int(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _bytes(field: int, value: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(value)) + value


def _text(field: int, value: str) -> bytes:
    return _bytes(field, value.encode())
