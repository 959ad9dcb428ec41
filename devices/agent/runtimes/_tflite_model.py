"""Writes TFLite models of one workload, or of a chain of them.

Maps are (batch, h, w, c), as TFLite has them; padding is SAME, which gives the workload's
output size for odd kernels and for patches (kernel == stride).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from latprof.devices.agent.runtimes._base import LOOKED_UP, Refused, fill
from latprof.devices.agent.runtimes._tflite_graph import TfliteGraph
from latprof.devices.agent.runtimes._tflite_int8 import Int8Graph
from latprof.workloads import Conv2d, Elementwise, MatMul, Pool, Workload

__all__ = [
    "FEW_BITS_OP",
    "append_workload",
    "graph_class",
    "input_dtype",
    "input_shape",
    "write_tflite",
]

_SAME, _RELU6 = 0, 3
#: Widths of weights whose products TFLite has besides float32.
_WEIGHT_BITS = (4, 8)
#: What is measured of them, for a table's provenance.
FEW_BITS_OP = "FULLY_CONNECTED of floats and codes, a scale per output, inputs rounded to int8"

_UNARY = {
    "gelu": ("GELU", "Gelu"),
    "hard_swish": ("HARD_SWISH", "HardSwish"),
    "neg": ("NEG", ""),
    "relu": ("RELU", ""),
    "relu6": ("RELU6", ""),
    "rsqrt": ("RSQRT", ""),
    "sigmoid": ("LOGISTIC", ""),
    "square": ("SQUARE", ""),
    "tanh": ("TANH", ""),
}


def write_tflite(workloads: Workload | Sequence[Workload]) -> bytes:
    """A TFLite model of one workload, or of several in a chain, each reading the one before.

    Inputs and outputs are (batch, h, w, c) maps, (batch * m, k) matrices, or
    (batch, tokens, c) for layer_norm and mean, (batch, tokens) ids for embedding; second operands
    of add, mul, scale and attention products are inputs too. Weights are random constants.

    Raises:
        Refused: no such op in TFLite, or two neighbors whose shapes do not fit.
    """
    chain = [workloads] if isinstance(workloads, Workload) else list(workloads)
    dtypes = {workload.dtype for workload in chain}
    if len(dtypes) > 1:
        raise Refused(f"chain: dtypes are {', '.join(sorted(dtypes))}; expected one")
    graph = graph_class(dtypes.pop() if dtypes else "float32")()
    out: int | None = None
    for workload in chain:
        shape = input_shape(workload)
        if out is None:
            out = graph.input(shape, input_dtype(workload))
        elif graph.shape(out) != shape:
            raise Refused(f"chain: {workload.label} reads {shape}, after {graph.shape(out)}")
        out = append_workload(graph, workload, out)
    if out is None:
        raise Refused("chain: no workloads; expected at least one")
    graph.output(out)
    return graph.serialize()


def graph_class(dtype: str) -> type[TfliteGraph]:
    """What writes ops in ``dtype``: float32, or int8 with every activation quantized.

    Raises:
        Refused: another dtype. float16 is no format of TFLite graphs but a way to compute them.
    """
    if dtype == "int8":
        return Int8Graph
    if dtype != "float32":
        raise Refused(f"TFLite graphs in {dtype}: expected float32 or int8")
    return TfliteGraph


def input_dtype(workload: Workload) -> str:
    """Of the first operand."""
    ids = isinstance(workload, Elementwise) and workload.op == "embedding"
    return "int32" if ids else "float32"


def input_shape(workload: Workload) -> tuple[int, ...]:
    """Shape of the first operand, as TFLite has it."""
    match workload:
        case Conv2d(batch=b, h=h, w=w, c_in=c) | Pool(batch=b, h=h, w=w, c=c):
            return (b, h, w, c)
        case MatMul(batch=b, m=m, k=k, weights=weights):
            return (b * m, k) if weights else (b, m, k)
        case Elementwise(op="softmax", batch=b, h=h, w=w, c=c):
            return (b, c, h, w)
        case Elementwise(op="embedding", batch=b, h=h, w=w):
            return (b, h * w)
        case Elementwise(op="layer_norm" | "mean", batch=b, h=h, w=w, c=c):
            return (b, h * w, c)
        case Elementwise(batch=b, h=h, w=w, c=c):
            return (b, h, w, c)
    raise Refused(f"TFLite has no writer for {workload.kind}")


def append_workload(graph: TfliteGraph, workload: Workload, x: int) -> int:
    """Add the workload's ops, reading tensor ``x``; returns its output."""
    writers: dict[type[Workload], Callable[[TfliteGraph, Any, int], int]] = {
        Conv2d: _conv, MatMul: _matmul, Elementwise: _elementwise, Pool: _pool,
    }  # fmt: skip
    return writers[type(workload)](graph, workload, x)


def _conv(graph: TfliteGraph, w: Conv2d, x: int) -> int:
    fan_in = w.c_in // w.groups * w.kernel**2
    bias = graph.constant(fill((w.c_out,)))
    where: dict[str, int] = {"padding": _SAME, "stride_w": w.stride, "stride_h": w.stride}
    dilation = {"dilation_w": w.dilation, "dilation_h": w.dilation}
    shape = (w.batch, w.h_out, w.w_out, w.c_out)
    if w.depthwise:
        weight = graph.constant(fill((1, w.kernel, w.kernel, w.c_out), 1, fan_in**-0.5))
        options = {**where, "multiplier": 1, **dilation}
        return graph.op("DEPTHWISE_CONV_2D", [x, weight, bias], shape, "DepthwiseConv2D", options)
    weights = fill((w.c_out, w.kernel, w.kernel, w.c_in // w.groups), 1, fan_in**-0.5)
    operands = [x, graph.constant(weights), bias]
    return graph.op("CONV_2D", operands, shape, "Conv2D", {**where, **dilation})


def _matmul(graph: TfliteGraph, w: MatMul, x: int) -> int:
    if w.weight_bits:
        return _few_bits(graph, w, x)
    if w.pattern:
        raise Refused(f"TFLite {w.label}: expected all weights, for no kernel skips some")
    if not w.weights:
        other = graph.input((w.batch, w.k, w.n))
        return graph.op("BATCH_MATMUL", [x, other], (w.batch, w.m, w.n), "BatchMatMul")
    operands = [x, graph.constant(fill((w.n, w.k), 1, w.k**-0.5)), graph.constant(fill((w.n,)))]
    return graph.op("FULLY_CONNECTED", operands, (w.batch * w.m, w.n), "FullyConnected")


def _few_bits(graph: TfliteGraph, w: MatMul, x: int) -> int:
    """Codes as weights and a scale per output; each row of inputs is rounded to int8 as it runs."""
    if w.weight_bits not in _WEIGHT_BITS:
        raise Refused(f"TFLite {w.label}: expected weights of 4 or 8 bits")
    most = 2 ** (w.weight_bits - 1) - 1
    steps = np.rint(fill((w.n, w.k)) * (most / 2)).clip(-most, most).astype(np.int8)
    scales = (np.abs(fill((w.n,), 1)) + np.float32(0.5)) * np.float32(w.k**-0.5)
    operands = [x, graph.codes(steps, scales, w.weight_bits), graph.constant(fill((w.n,)))]
    options = {"asymmetric_inputs": True}
    shape = (w.batch * w.m, w.n)
    return graph.op("FULLY_CONNECTED", operands, shape, "FullyConnected", options)


def _elementwise(graph: TfliteGraph, w: Elementwise, x: int) -> int:
    shape = graph.shape(x)
    if w.op in _UNARY:
        op, options = _UNARY[w.op]
        return graph.op(op, [x], shape, options)
    if w.op == "softmax":
        return graph.op("SOFTMAX", [x], shape, "Softmax", {"beta": 1.0})
    if w.op == "silu":
        return graph.op("MUL", [x, graph.op("LOGISTIC", [x], shape)], shape, "Mul")
    if w.op == "hard_sigmoid":  # relu6(x + 3) / 6, as converters write it
        three, sixth = graph.scalar(3.0), graph.scalar(1 / 6)
        clipped = graph.op("ADD", [x, three], shape, "Add", {"fused": _RELU6})
        return graph.op("MUL", [clipped, sixth], shape, "Mul")
    if w.op == "layer_norm":
        return _layer_norm(graph, shape, x)
    if w.op == "embedding":
        table = graph.constant(fill((LOOKED_UP, w.c)))
        return graph.op("GATHER", [table, x], (*shape, w.c))
    if w.op == "mean":
        last = graph.constant(np.array([len(shape) - 1], np.int32))
        return graph.op("MEAN", [x, last], (*shape[:-1], 1), "Reducer", {"keep_dims": True})
    other = graph.input((w.batch, 1, 1, w.c) if w.op == "scale" else shape)
    op, options = ("ADD", "Add") if w.op == "add" else ("MUL", "Mul")
    return graph.op(op, [x, other], shape, options)


def _layer_norm(graph: TfliteGraph, shape: tuple[int, ...], x: int) -> int:
    """TFLite has no layer norm; this is what converters write."""
    last = graph.constant(np.array([len(shape) - 1], np.int32))
    thin, c = (*shape[:-1], 1), shape[-1]
    mean = graph.op("MEAN", [x, last], thin, "Reducer", {"keep_dims": True})
    squares = graph.op("SQUARED_DIFFERENCE", [x, mean], shape, "SquaredDifference")
    variance = graph.op("MEAN", [squares, last], thin, "Reducer", {"keep_dims": True})
    safe = graph.op("ADD", [variance, graph.scalar(1e-5)], thin, "Add")
    centered = graph.op("SUB", [x, mean], shape, "Sub")
    unit = graph.op("MUL", [centered, graph.op("RSQRT", [safe], thin)], shape, "Mul")
    scaled = graph.op("MUL", [unit, graph.constant(fill((c,), 1))], shape, "Mul")
    return graph.op("ADD", [scaled, graph.constant(fill((c,), 2))], shape, "Add")


def _pool(graph: TfliteGraph, w: Pool, x: int) -> int:
    shape = (w.batch, w.h_out, w.w_out, w.c)
    if w.op == "global_avg":
        axes = graph.constant(np.array([1, 2], np.int32))
        return graph.op("MEAN", [x, axes], shape, "Reducer", {"keep_dims": True})
    options = {
        "padding": _SAME, "stride_w": w.stride, "stride_h": w.stride,
        "filter_w": w.kernel, "filter_h": w.kernel,
    }  # fmt: skip
    op = "AVERAGE_POOL_2D" if w.op == "avg" else "MAX_POOL_2D"
    return graph.op(op, [x], shape, "Pool2D", options)
