"""Workloads of an ONNX file: batch norm, bias and activations taken as the exporter fused them.

Of a quantised (QDQ) file, an op between DequantizeLinear and QuantizeLinear is an int8 workload
where runtimes have an integer kernel for it; else it runs in floats between the two.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from latprof.errors import ModelLoadError
from latprof.vocabulary import require
from latprof.workloads import (
    Elementwise,
    MatMul,
    Pool,
    Workload,
    conv_transpose_workload,
    conv_workload,
)

__all__ = ["onnx_workloads"]

Shape = tuple[int, ...]

_UNARY = {
    "Relu": "relu", "LeakyRelu": "relu", "PRelu": "relu", "Sigmoid": "sigmoid", "Tanh": "tanh",
    "HardSigmoid": "hard_sigmoid", "HardSwish": "hard_swish", "Gelu": "gelu", "Swish": "silu",
    "Softmax": "softmax", "LogSoftmax": "softmax", "Clip": "relu6",
}  # fmt: skip
_BINARY = {"Add": "add", "Sub": "add", "Mul": "mul", "Div": "mul"}
_INTEGER = {
    "Add", "AveragePool", "Conv", "Gemm", "GlobalAveragePool", "MatMul", "MaxPool", "Mul",
    "Sigmoid",
}  # fmt: skip
_NORMS = {
    "LayerNormalization", "RMSNormalization", "SimplifiedLayerNormalization",
    "InstanceNormalization", "GroupNormalization",
}  # fmt: skip


def onnx_workloads(path: Path) -> list[Workload]:
    onnx = require("onnx", extra="onnx", why="reading an .onnx file")
    try:
        model = onnx.load(str(path))
        model = onnx.shape_inference.infer_shapes(model, data_prop=True)
    except Exception as exc:
        raise ModelLoadError(f"MODEL {path}: not an ONNX model: {type(exc).__name__}") from exc
    graph = _Graph(onnx, model.graph, str(path))
    found: list[Workload] = []
    for node in graph.nodes:
        made = _OPS.get(node.op_type, _elementwise)(graph, node)
        if made is not None:
            found.append(made.with_dtype("int8") if graph.is_int8(node) else made)
    return found


class _Graph:
    """Shapes and constants by name, and which nodes a larger op swallowed."""

    def __init__(self, onnx: Any, graph: Any, path: str) -> None:
        self.onnx, self.path = onnx, path
        self.constants = {t.name: t for t in graph.initializer}
        self.shapes: dict[str, Shape] = {t.name: tuple(t.dims) for t in graph.initializer}
        for info in (*graph.input, *graph.value_info, *graph.output):
            dims = info.type.tensor_type.shape.dim
            if info.type.tensor_type.HasField("shape"):
                # an open dim is the batch: it is read as 1
                self.shapes[info.name] = tuple(d.dim_value if d.dim_value else 1 for d in dims)
        for node in graph.node:
            if node.op_type == "Constant":
                tensor = next((a.t for a in node.attribute if a.name == "value"), None)
                if tensor is not None:
                    self.constants[node.output[0]] = tensor
                    self.shapes[node.output[0]] = tuple(tensor.dims)
        self.maker = {out: node for node in graph.node for out in node.output}
        self.users = Counter(i for node in graph.node for i in node.input)
        self._readers = defaultdict(set)
        for node in graph.node:
            for name in node.input:
                self._readers[name].add(node.op_type)
        derived = set(self.constants)
        for node in graph.node:  # computed from constants alone: folded when loaded
            if all(i in derived for i in node.input if i) and node.input:
                derived.update(node.output)
        self.constant = derived
        swallowed = _swallowed(self, graph.node)
        self.nodes = [
            n for n in graph.node if id(n) not in swallowed and n.output[0] not in derived
        ]

    def shape(self, name: str) -> Shape:
        if name not in self.shapes:
            raise ModelLoadError(f"MODEL {self.path}: shape of {name} cannot be inferred")
        return self.shapes[name]

    def is_int8(self, node: Any) -> bool:
        """Quantised before and after, with a kernel for it."""
        makers = [self.maker.get(i) for i in node.input if i not in self.constant]
        before = {None if m is None else m.op_type for m in makers}
        after = self._readers[node.output[0]]
        around = (before, after) == ({"DequantizeLinear"}, {"QuantizeLinear"})
        return around and node.op_type in _INTEGER

    def value(self, name: str) -> NDArray[Any]:
        found: NDArray[Any] = self.onnx.numpy_helper.to_array(self.constants[name])
        return found

    def attribute(self, node: Any, name: str, default: Any) -> Any:
        for a in node.attribute:
            if a.name == name:
                return self.onnx.helper.get_attribute_value(a)
        return default


def _swallowed(graph: _Graph, nodes: Any) -> set[int]:
    """Nodes that are part of another op: bias adds, SiLU's product, the pieces of GELU."""
    gone: set[int] = set()
    for node in nodes:
        made = [graph.maker.get(i) for i in node.input]
        if node.op_type == "Add" and len(node.input) == 2:
            for bias, product in ((0, 1), (1, 0)):
                source = made[product]
                if (
                    source is not None
                    and source.op_type == "MatMul"
                    and graph.users[source.output[0]] == 1
                    and node.input[bias] in graph.constant
                    and len(graph.shapes.get(node.input[bias], (0, 0))) == 1
                ):
                    gone.add(id(node))
        if node.op_type == "Mul" and len(node.input) == 2:
            for gate, x in ((0, 1), (1, 0)):
                source = made[gate]
                if (
                    source is not None
                    and source.op_type == "Sigmoid"
                    and list(source.input) == [node.input[x]]
                ):
                    gone.add(id(node))
                    source.op_type = "Swish"
        if node.op_type == "Erf":
            gone |= _gelu(graph, node, nodes)
    return gone


def _gelu(graph: _Graph, erf: Any, nodes: Any) -> set[int]:
    """x * (1 + erf(x / sqrt 2)) / 2 as the exporter writes it: all of it but the Erf."""
    gone: set[int] = set()
    before = graph.maker.get(erf.input[0])
    if before is not None and before.op_type in ("Div", "Mul"):
        gone.add(id(before))
    ends = {erf.output[0]}
    for node in nodes:
        if node.op_type in ("Add", "Mul") and ends & set(node.input) and len(gone) < 4:
            gone.add(id(node))
            ends = {node.output[0]}
    erf.op_type = "Gelu"
    return gone


def _conv(graph: _Graph, node: Any) -> Workload | None:
    shape, made = graph.shape(node.input[0]), graph.shape(node.output[0])
    weight = graph.shape(node.input[1])
    ones = [1] * (len(weight) - 2)
    return conv_workload(
        shape,
        made,
        weight,
        int(graph.attribute(node, "group", 1)),
        list(graph.attribute(node, "strides", ones)),
        list(graph.attribute(node, "dilations", ones)),
    )


def _conv_transpose(graph: _Graph, node: Any) -> Workload | None:
    if graph.attribute(node, "group", 1) != 1:
        return None
    return conv_transpose_workload(graph.shape(node.input[0]), graph.shape(node.input[1]))


def _gemm(graph: _Graph, node: Any) -> Workload | None:
    a, made = graph.shape(node.input[0]), graph.shape(node.output[0])
    k = a[0] if graph.attribute(node, "transA", 0) else a[1]
    return MatMul(m=made[0], k=k, n=made[1])


def _matmul(graph: _Graph, node: Any) -> Workload | None:
    a, b = (graph.shape(i) for i in node.input)
    made = graph.shape(node.output[0])
    if node.input[1] in graph.constant and len(b) == 2:
        return MatMul(m=math.prod(a[:-1]), k=a[-1], n=b[-1])
    if min(len(a), len(b)) < 2:
        return None
    return MatMul(m=a[-2], k=a[-1], n=b[-1], batch=math.prod(made[:-2]), weights=False)


def _pool(graph: _Graph, node: Any) -> Workload | None:
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


def _reduce_mean(graph: _Graph, node: Any) -> Workload | None:
    shape = graph.shape(node.input[0])
    axes = graph.attribute(node, "axes", None)
    if axes is None and len(node.input) > 1 and node.input[1] in graph.constants:
        axes = graph.value(node.input[1]).tolist()
    if axes is None or len(shape) != 4 or sorted(a % 4 for a in axes) != [2, 3]:
        return None
    return Pool("global_avg", h=shape[2], w=shape[3], c=shape[1], batch=shape[0])


def _elementwise(graph: _Graph, node: Any) -> Workload | None:
    op = _UNARY.get(node.op_type)
    made = graph.shapes.get(node.output[0], ())
    if node.op_type in _NORMS:
        op = "layer_norm"
    elif node.op_type == "BatchNormalization":
        op = "scale"
    elif node.op_type in _BINARY:
        full = math.prod(made)
        inputs = [math.prod(graph.shapes.get(i, ())) for i in node.input]
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


_OPS: dict[str, Callable[[_Graph, Any], Workload | None]] = {
    "AveragePool": _pool,
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "Gemm": _gemm,
    "GlobalAveragePool": _pool,
    "MatMul": _matmul,
    "MaxPool": _pool,
    "ReduceMean": _reduce_mean,
}
