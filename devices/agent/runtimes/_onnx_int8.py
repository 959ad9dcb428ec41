"""Writes int8 ONNX models of one workload: uint8 activations, int8 weights.

These are the operators that ONNX Runtime turns a quantized (QDQ) network into. Activations are
unsigned because the signed kernels are several times slower on x86.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from latprof.devices.agent.runtimes._base import Refused, fill
from latprof.devices.agent.runtimes._onnx_model import OnnxGraph
from latprof.workloads import Conv2d, Elementwise, MatMul, Pool, Workload

__all__ = ["write_onnx_int8"]

_MICROSOFT = "com.microsoft"


def write_onnx_int8(workload: Workload) -> bytes:
    """A one-op quantized model. Raises Refused where ONNX Runtime has no quantized kernel."""
    graph = OnnxGraph("uint8")
    scale = graph.array(np.asarray(0.02, np.float32))
    zero, signed_zero = graph.array(np.array(128, np.uint8)), graph.array(np.array(0, np.int8))
    of = [scale, zero]  # the quantization of every activation
    match workload:
        case MatMul() if workload.weight_bits or workload.pattern:
            raise Refused(f"ONNX {workload.label}: expected all weights, and in int8, here")
        case Conv2d():
            _conv(graph, workload, of, signed_zero)
        case MatMul():
            _matmul(graph, workload, of, signed_zero)
        case Elementwise(op="add" | "mul" | "scale"):
            shape = (workload.batch, workload.c, workload.h, workload.w)
            other = (workload.batch, workload.c, 1, 1) if workload.op == "scale" else shape
            x, y = graph.input("x", shape), graph.input("y", other)
            op = "QLinearAdd" if workload.op == "add" else "QLinearMul"
            graph.output(graph.node(op, [x, *of, y, *of, *of], domain=_MICROSOFT), shape)
        case Elementwise(op="sigmoid"):
            shape = (workload.batch, workload.c, workload.h, workload.w)
            x = graph.input("x", shape)
            graph.output(graph.node("QLinearSigmoid", [x, *of, *of], domain=_MICROSOFT), shape)
        case Pool():
            _pool(graph, workload, of)
        case _:
            raise Refused(f"ONNX Runtime has no int8 kernel for {workload.label}")
    return graph.serialize()


def _weights(graph: OnnxGraph, shape: tuple[int, ...]) -> str:
    return graph.array(np.clip(np.rint(fill(shape) * 40), -127, 127).astype(np.int8))


def _bias(graph: OnnxGraph, count: int) -> str:
    return graph.array(np.rint(fill((count,)) * 1000).astype(np.int32))


def _conv(graph: OnnxGraph, w: Conv2d, of: list[str], signed_zero: str) -> None:
    x = graph.input("x", (w.batch, w.c_in, w.h, w.w))
    weight = _weights(graph, (w.c_out, w.c_in // w.groups, w.kernel, w.kernel))
    out = graph.node(
        "QLinearConv",
        [x, *of, weight, of[0], signed_zero, *of, _bias(graph, w.c_out)],
        kernel_shape=[w.kernel] * 2,
        strides=[w.stride] * 2,
        dilations=[w.dilation] * 2,
        pads=[w.padding] * 4,
        group=w.groups,
    )
    graph.output(out, (w.batch, w.c_out, w.h_out, w.w_out))


def _matmul(graph: OnnxGraph, w: MatMul, of: list[str], signed_zero: str) -> None:
    if not w.weights:
        a, b = graph.input("a", (w.batch, w.m, w.k)), graph.input("b", (w.batch, w.k, w.n))
        graph.output(graph.node("QLinearMatMul", [a, *of, b, *of, *of]), (w.batch, w.m, w.n))
        return
    x = graph.input("x", (w.batch * w.m, w.k))
    operands = [x, *of, _weights(graph, (w.n, w.k)), of[0], signed_zero, _bias(graph, w.n), *of]
    out = graph.node("QGemm", operands, domain=_MICROSOFT, transB=1, alpha=1.0)
    graph.output(out, (w.batch * w.m, w.n))


def _pool(graph: OnnxGraph, w: Pool, of: list[str]) -> None:
    x = graph.input("x", (w.batch, w.c, w.h, w.w))
    window: dict[str, Any] = {
        "kernel_shape": [w.kernel] * 2, "strides": [w.stride] * 2, "pads": [w.padding] * 4,
    }  # fmt: skip
    if w.op == "max":
        out = graph.node("MaxPool", [x], **window)
    elif w.op == "avg":
        out = graph.node("QLinearAveragePool", [x, *of, *of], domain=_MICROSOFT, **window)
    else:
        out = graph.node("QLinearGlobalAveragePool", [x, *of, *of], domain=_MICROSOFT)
    graph.output(out, (w.batch, w.c, w.h_out, w.w_out))
