"""Workloads of an ONNX file: batch norm, bias and activations taken as the exporter fused them.

Of a quantized (QDQ) file, an op between DequantizeLinear and QuantizeLinear is an integer workload
where runtimes have an integer kernel for it; else it runs in floats between the two.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from latprof.compress.read._onnx_graph import OnnxGraph, UnknownShapeError
from latprof.compress.read._onnx_model import Shape, load_onnx
from latprof.errors import ModelLoadError
from latprof.vocabulary import require
from latprof.workloads import (
    WEIGHT_BITS,
    Elementwise,
    MatMul,
    ModelWorkloads,
    Pool,
    Workload,
    conv_transpose_workload,
    conv_workload,
    softmax_workload,
)

__all__ = ["onnx_workloads", "read_node"]

_UNARY = {
    "Relu": "relu", "LeakyRelu": "relu", "PRelu": "relu", "Sigmoid": "sigmoid", "Tanh": "tanh",
    "HardSigmoid": "hard_sigmoid", "HardSwish": "hard_swish", "Gelu": "gelu", "Swish": "silu",
    "Clip": "relu6", "BiasGelu": "gelu", "FastGelu": "gelu", "QuickGelu": "silu",
    "QLinearLeakyRelu": "relu", "QLinearSigmoid": "sigmoid", "Neg": "neg", "Sqrt": "rsqrt",
}  # fmt: skip
_BINARY = {
    "Add": "add", "Sub": "add", "Mul": "mul", "Div": "mul", "QLinearAdd": "add",
    "QLinearMul": "mul",
}  # fmt: skip
_NORMS = {
    "LayerNormalization", "RMSNormalization", "SimplifiedLayerNormalization",
    "InstanceNormalization", "GroupNormalization", "SkipLayerNormalization",
    "SkipSimplifiedLayerNormalization",
}  # fmt: skip
#: Ops that move values, ask about shapes or change types, and compute nothing.
_FREE = {
    "And", "Cast", "CastLike", "Compress", "Concat", "Constant", "ConstantOfShape", "DepthToSpace",
    "DequantizeLinear", "Dropout", "DynamicQuantizeLinear", "Equal", "Expand", "EyeLike",
    "Flatten", "GatherElements", "GatherND", "Greater", "GreaterOrEqual", "Identity",
    "IsInf", "IsNaN", "Less", "LessOrEqual", "NonZero", "Not", "OneHot", "Or", "Pad",
    "QLinearConcat", "QuantizeLinear", "Range",
    "Reciprocal",  # of a root: rsqrt
    "Reshape", "Resize", "ReverseSequence", "Scatter",
    "ScatterElements", "ScatterND", "SequenceAt", "SequenceConstruct", "Shape", "Size", "Slice",
    "SpaceToDepth", "Split", "SplitToSequence", "Squeeze", "Tile", "Transpose", "Trilu",
    "Unsqueeze", "Upsample", "Where", "Xor",
}  # fmt: skip
#: Where the weight of an op on integers stands, after the scale and zero point of the input.
_WEIGHT = {"QLinearConv": 3, "QLinearMatMul": 3, "QGemm": 3}
#: A body that runs more often than this is named and not counted.
_MAX_TRIPS = 10_000


def onnx_workloads(path: Path, inputs: Mapping[str, Sequence[int]]) -> ModelWorkloads:
    onnx = require("onnx", extra="onnx", why="reading an .onnx file")
    graph, shaped, opset, assumed = load_onnx(path, inputs)
    try:
        found = _Reader(onnx).read(OnnxGraph(onnx, graph, shaped, opset))
    except (ArithmeticError, LookupError, TypeError, ValueError, RecursionError) as exc:
        raise ModelLoadError(
            f"MODEL {path}: not an ONNX model that runs: {type(exc).__name__}: {exc}"
        ) from exc
    return ModelWorkloads(tuple(found.workloads), found.unread, tuple(assumed))


class _Found:
    """Workloads so far, and how many of which ops are in none."""

    def __init__(self) -> None:
        self.workloads: list[Workload] = []
        self.unread: Counter[str] = Counter()

    @property
    def macs(self) -> int:
        return sum(w.macs for w in self.workloads)

    def add(self, other: _Found, times: int = 1) -> None:
        self.workloads += other.workloads * times
        self.unread.update({op: count * times for op, count in other.unread.items()})


class _Reader:
    def __init__(self, onnx: Any) -> None:
        self.onnx = onnx

    def read(self, graph: OnnxGraph) -> _Found:
        found = _Found()
        for node, shaped in graph.nodes:
            bodies = [
                OnnxGraph(self.onnx, a.g, b.g, graph.opset, graph)
                for a, b in zip(node.attribute, shaped.attribute, strict=False)
                if a.HasField("g")
            ]
            if bodies:
                self._control(graph, node, bodies, found)
                continue
            try:
                found.workloads += read_node(graph, node)
            except UnknownShapeError:
                found.unread[node.op_type] += 1
        return found

    def _control(self, graph: OnnxGraph, node: Any, bodies: list[OnnxGraph], found: _Found) -> None:
        """If takes its costlier branch; a Loop or Scan runs its body as often as is known."""
        read = [self.read(body) for body in bodies]
        if node.op_type == "If":
            found.add(max(read, key=lambda branch: branch.macs))
            return
        trips = _trips(graph, node, bodies[0])
        if trips is None or trips > _MAX_TRIPS:
            found.unread[node.op_type] += 1
        else:
            found.add(read[0], trips)


def _trips(graph: OnnxGraph, node: Any, body: OnnxGraph) -> int | None:
    """How often the body runs; None where data decide."""
    if node.op_type == "Scan":
        count = int(graph.attribute(node, "num_scan_inputs", 1))
        scanned = node.input[len(node.input) - count]
        axes = graph.attribute(node, "scan_input_axes", [0])
        shape = graph.shapes.get(scanned)
        return None if shape is None else shape[axes[0]]
    if node.op_type != "Loop" or len(node.input) < 2 or node.input[0] not in graph.constants:
        return None
    start = node.input[1]
    if start and not (start in graph.constants and bool(graph.value(start).all())):
        return None
    if not body.goes_on:
        return None
    return int(graph.value(node.input[0]).reshape(-1)[0])


def read_node(graph: OnnxGraph, node: Any) -> Iterator[Workload]:
    """Its workloads; raises UnknownShapeError for an op that is in none of them but takes time."""
    if node.op_type in _FREE and node.domain in _DOMAINS:
        return
    dtype = graph.dtype(node, _WEIGHT.get(node.op_type, 1))
    if node.op_type not in _OPS and dtype is None:
        return  # arithmetic of indices and shapes
    made = _OPS.get(node.op_type, _elementwise)(graph, node)
    if made is None:
        raise UnknownShapeError(node.op_type)
    for workload in made if isinstance(made, list) else [made]:
        yield workload.with_dtype(dtype or "float32")


_DOMAINS = ("", "ai.onnx", "com.microsoft")


def _conv(graph: OnnxGraph, node: Any) -> Workload | None:
    shape, made = graph.shape(node.input[0]), graph.shape(node.output[0])
    weight = graph.shape(node.input[_WEIGHT.get(node.op_type, 1)])
    ones = [1] * (len(weight) - 2)
    return conv_workload(
        shape,
        made,
        weight,
        int(graph.attribute(node, "group", 1)),
        list(graph.attribute(node, "strides", ones)),
        list(graph.attribute(node, "dilations", ones)),
    )


def _conv_transpose(graph: OnnxGraph, node: Any) -> Workload | None:
    shape, weight = graph.shape(node.input[0]), graph.shape(node.input[1])
    groups = int(graph.attribute(node, "group", 1))
    if groups == 1:
        return conv_transpose_workload(shape, weight)
    pixels = shape[0] * math.prod(shape[2:])
    n = weight[1] * math.prod(weight[2:])
    return MatMul(m=pixels, k=weight[0] // groups, n=n, batch=groups, weights=False)


def _gemm(graph: OnnxGraph, node: Any) -> Workload | None:
    a, made = graph.shape(node.input[0]), graph.shape(node.output[0])
    k = a[0] if graph.attribute(node, "transA", 0) else a[1]
    weights = node.input[_WEIGHT.get(node.op_type, 1)] in graph.constant
    return MatMul(m=made[0], k=k, n=made[1], weights=weights)


def _matmul(graph: OnnxGraph, node: Any) -> Workload | None:
    right = node.input[_WEIGHT.get(node.op_type, 1)]
    a, b = graph.shape(node.input[0]), graph.shape(right)
    if graph.attribute(node, "transA", 0):
        a = (*a[:-2], a[-1], a[-2])
    if graph.attribute(node, "transB", 0):
        b = (*b[:-2], b[-1], b[-2])
    a, b = (1, *a) if len(a) == 1 else a, (*b, 1) if len(b) == 1 else b
    if right in graph.constant and len(b) == 2:
        return MatMul(m=math.prod(a[:-1]), k=a[-1], n=b[-1])
    batch = math.prod(_broadcast(a[:-2], b[:-2]))
    return MatMul(m=a[-2], k=a[-1], n=b[-1], batch=batch, weights=False)


def _few_bits(graph: OnnxGraph, node: Any) -> Workload | None:
    """MatMulNBits, of the widths that there are rows of."""
    k, n, bits = (int(graph.attribute(node, name, 0)) for name in ("K", "N", "bits"))
    if bits not in WEIGHT_BITS or k < 1 or n < 1:
        return None
    rows = math.prod(graph.shape(node.input[0])[:-1])
    return MatMul(m=rows, k=k, n=n, weight_bits=bits)


def _dynamic(graph: OnnxGraph, node: Any) -> Workload | None:
    """DynamicQuantizeMatMul of a constant matrix of codes."""
    if node.input[1] not in graph.constant or len(graph.shape(node.input[1])) != 2:
        return None
    k, n = graph.shape(node.input[1])
    return MatMul(m=math.prod(graph.shape(node.input[0])[:-1]), k=k, n=n, weight_bits=8)


def _broadcast(a: Shape, b: Shape) -> Shape:
    long, short = (a, b) if len(a) >= len(b) else (b, a)
    padded = (1,) * (len(long) - len(short)) + short
    return tuple(n if m == 1 else m for n, m in zip(long, padded, strict=True))


def _einsum(graph: OnnxGraph, node: Any) -> Workload | None:
    """A product of two operands; of other numbers the order of products is the runtime's."""
    equation = graph.attribute(node, "equation", b"").decode().replace(" ", "")
    given, arrow, made = equation.partition("->")
    terms = given.split(",")
    if len(terms) != 2 or len(node.input) != 2 or not arrow or "." in equation:
        return None
    sizes: dict[str, int] = {}
    for term, name in zip(terms, node.input, strict=True):
        for label, size in zip(term, graph.shape(name), strict=True):
            sizes[label] = max(size, sizes.get(label, 1))
    one, two = (set(t) for t in terms)
    out = set(made)
    batch, k, m, n = (
        math.prod(sizes[label] for label in labels)
        for labels in (one & two & out, (one & two) - out, (one - two) & out, (two - one) & out)
    )
    first, second = (name in graph.constant for name in node.input)
    if batch == 1 and (first or second):
        return MatMul(m=m if second else n, k=k, n=n if second else m)
    return MatMul(m=m, k=k, n=n, batch=batch, weights=False)


def _recurrent(graph: OnnxGraph, node: Any) -> list[Workload]:
    """LSTM, GRU and RNN as their products, step by step: of the input, and of the state."""
    first, second, _ = graph.shape(node.input[0])
    steps, batch = (second, first) if graph.attribute(node, "layout", 0) else (first, second)
    products: list[Workload] = []
    for weight in node.input[1:3]:
        directions, n, k = graph.shape(weight)
        count = steps * directions
        products.append(MatMul(m=batch, k=k, n=n, batch=count, weights=False))
    return products


def _pool(graph: OnnxGraph, node: Any) -> Workload | None:
    shape, made = graph.shape(node.input[0]), graph.shape(node.output[0])
    if len(shape) != 4:
        return None
    op = "max" if "Max" in node.op_type else "avg"
    if op == "avg" and ("Global" in node.op_type or made[2:] == (1, 1)):
        return Pool("global_avg", h=shape[2], w=shape[3], c=shape[1], batch=shape[0])
    kernel = list(graph.attribute(node, "kernel_shape", [1, 1]))
    stride = list(graph.attribute(node, "strides", [1, 1]))
    if len(set(kernel)) != 1 or len(set(stride)) != 1:
        return None
    return Pool(
        op, h=shape[2], w=shape[3], c=shape[1], kernel=kernel[0], stride=stride[0], batch=shape[0]
    )


def _gather(graph: OnnxGraph, node: Any) -> Workload | list[Workload]:
    """An embedding, where rows of a constant table are looked up; others move values."""
    table, made = graph.shape(node.input[0]), graph.shapes.get(node.output[0], ())
    of_rows = graph.attribute(node, "axis", 0) == 0 and len(table) == 2
    computed = node.input[1] in graph.constant
    if node.input[0] not in graph.constant or computed or not of_rows or len(made) < 2 or 0 in made:
        return []
    return Elementwise("embedding", h=math.prod(made[1:-1]), w=1, c=made[-1], batch=made[0])


def _reduce_mean(graph: OnnxGraph, node: Any) -> Workload | None:
    shape = graph.shape(node.input[0])
    axes = graph.attribute(node, "axes", None)
    if axes is None and len(node.input) > 1 and node.input[1] in graph.constants:
        axes = graph.value(node.input[1]).tolist()
    if axes is None or not shape or 0 in shape:
        return None
    if len(shape) > 1 and [a % len(shape) for a in axes] == [len(shape) - 1]:
        tokens = math.prod(shape[1:-1])
        return Elementwise("mean", h=tokens, w=1, c=shape[-1], batch=shape[0])
    if len(shape) != 4 or sorted(a % 4 for a in axes) != [2, 3]:
        return None
    return Pool("global_avg", h=shape[2], w=shape[3], c=shape[1], batch=shape[0])


def _softmax(graph: OnnxGraph, node: Any) -> Workload | None:
    """Over the last axis since opset 13; before, over all dims from the second on."""
    shape = graph.shape(node.output[0])
    if not shape or 0 in shape:
        return None
    opset = int(graph.attribute(node, "opset", graph.opset))  # QLinearSoftmax tells it itself
    flat = opset < 13 or node.op_type == "BiasSoftmax"
    axis = int(graph.attribute(node, "axis", 1 if flat and len(shape) > 1 else -1))
    if not -len(shape) <= axis < len(shape):
        raise ValueError(f"{node.op_type} over axis {axis} of {len(shape)}")
    return softmax_workload(shape, axis, flat=flat)


def _elementwise(graph: OnnxGraph, node: Any) -> Workload | None:
    op = _UNARY.get(node.op_type)
    made = graph.shapes.get(node.output[0], ())
    if node.op_type in _NORMS:
        op = "layer_norm"
    elif node.op_type == "Pow" and node.input[1] in graph.constants:
        op = "square" if (graph.value(node.input[1]) == 2).all() else None
    elif node.op_type == "BatchNormalization":
        op = "scale"
    elif node.op_type in _BINARY:
        full = math.prod(made)
        inputs = [math.prod(graph.shapes.get(i, ())) for i in node.input if i]
        op = _BINARY[node.op_type] if inputs.count(full) > 1 or full == 1 else "scale"
    if op is None or not made or 0 in made:
        return None
    axis = 1 if len(made) in (2, 4, 5) else len(made) - 1
    rest = [n for d, n in enumerate(made) if d not in (0, axis)] if axis else []
    return Elementwise(
        op,
        h=math.prod(rest[:-1]) if len(rest) > 1 else math.prod(rest),
        w=rest[-1] if len(rest) > 1 else 1,
        c=made[axis],
        batch=made[0] if axis else 1,
    )


_OPS: dict[str, Callable[[OnnxGraph, Any], Workload | list[Workload] | None]] = {
    "AveragePool": _pool,
    "BiasSoftmax": _softmax,
    "Conv": _conv,
    "ConvInteger": _conv,
    "ConvTranspose": _conv_transpose,
    "DynamicQuantizeMatMul": _dynamic,
    "Einsum": _einsum,
    "FusedConv": _conv,
    "FusedGemm": _gemm,
    "FusedMatMul": _matmul,
    "Gemm": _gemm,
    "GRU": _recurrent,
    "Gather": _gather,
    "GlobalAveragePool": _pool,
    "LSTM": _recurrent,
    "LogSoftmax": _softmax,
    "MatMul": _matmul,
    "MatMulInteger": _matmul,
    "MatMulIntegerToFloat": _matmul,
    "MatMulNBits": _few_bits,
    "MaxPool": _pool,
    "QGemm": _gemm,
    "QLinearAveragePool": _pool,
    "QLinearConv": _conv,
    "QLinearGlobalAveragePool": _pool,
    "QLinearMatMul": _matmul,
    "QLinearSoftmax": _softmax,
    "RNN": _recurrent,
    "ReduceMean": _reduce_mean,
    "Softmax": _softmax,
}
