"""One graph of an ONNX model, or the body of an If, Loop or Scan: shapes, types and constants."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

from numpy.typing import NDArray

from latprof.compress.read._onnx_model import Shape

__all__ = ["OnnxGraph", "UnknownShapeError"]

#: Ops that ONNX Runtime has an integer kernel for, between DequantizeLinear and QuantizeLinear.
_INTEGER = {
    "Add", "AveragePool", "Conv", "Gemm", "GlobalAveragePool", "MatMul", "MaxPool", "Mul",
    "Sigmoid",
}  # fmt: skip


class UnknownShapeError(Exception):
    """A shape depends on data, or on an op that onnx knows nothing of."""


class OnnxGraph:
    """Shapes, types and constants by name, and the nodes that no larger op has fused.

    Args:
        graph: as written; ops that are fused are renamed in it.
        shaped: the same with inferred shapes.
        opset: version of the standard ops.
        outer: the graph whose node has this one as its body.
    """

    def __init__(
        self, onnx: Any, graph: Any, shaped: Any, opset: int, outer: OnnxGraph | None = None
    ) -> None:
        self.onnx, self._graph, self.opset = onnx, graph, opset
        self.constants: dict[str, Any] = dict(outer.constants) if outer else {}
        self.shapes: dict[str, Shape] = dict(outer.shapes) if outer else {}
        self.types: dict[str, int] = dict(outer.types) if outer else {}
        self.constant: set[str] = set(outer.constant) if outer else set()
        for info in (*shaped.input, *shaped.value_info, *shaped.output):
            self._learn(info)
        for tensor in graph.initializer:
            self._hold(tensor.name, tensor)
        for sparse in graph.sparse_initializer:
            self.shapes[sparse.values.name] = tuple(sparse.dims)
            self.types[sparse.values.name] = sparse.values.data_type
            self.constant.add(sparse.values.name)
        for node in graph.node:
            if node.op_type == "Constant":
                tensor = next((a.t for a in node.attribute if a.name == "value"), None)
                if tensor is not None:
                    self._hold(node.output[0], tensor)
        self.maker = {out: node for node in graph.node for out in node.output}
        self.users = Counter(i for node in graph.node for i in node.input)
        self._readers = defaultdict(set)
        for node in graph.node:
            for name in node.input:
                self._readers[name].add(node.op_type)
        self.constant |= set(self.constants)
        for node in graph.node:  # computed from constants alone: folded when loaded
            if all(i in self.constant for i in node.input if i) and node.input:
                self.constant.update(node.output)
        fused = _fused(self, graph.node)
        self.nodes = [
            (n, s)
            for n, s in zip(graph.node, shaped.node, strict=True)
            if id(n) not in fused and n.output and n.output[0] not in self.constant
        ]

    def _learn(self, info: Any) -> None:
        if not info.type.HasField("tensor_type"):
            return
        tensor = info.type.tensor_type
        self.types[info.name] = tensor.elem_type
        if tensor.HasField("shape"):
            dims = [d.dim_value if d.HasField("dim_value") else -1 for d in tensor.shape.dim]
            if all(d >= 0 for d in dims):
                self.shapes[info.name] = tuple(dims)

    def _hold(self, name: str, tensor: Any) -> None:
        self.constants[name] = tensor
        self.shapes[name] = tuple(tensor.dims)
        self.types[name] = tensor.data_type

    def shape(self, name: str) -> Shape:
        """Raises UnknownShapeError."""
        if name not in self.shapes:
            raise UnknownShapeError(name)
        return self.shapes[name]

    @property
    def goes_on(self) -> bool:
        """Whether the body of a Loop never ends it: its condition is handed on, or always true."""
        name = self._graph.output[0].name
        while (node := self.maker.get(name)) is not None and node.op_type == "Identity":
            name = node.input[0]
        if name in self.constants:
            return bool(self.value(name).all())
        return len(self._graph.input) > 1 and name == self._graph.input[1].name

    def value(self, name: str) -> NDArray[Any]:
        found: NDArray[Any] = self.onnx.numpy_helper.to_array(self.constants[name])
        return found

    def attribute(self, node: Any, name: str, default: Any) -> Any:
        for a in node.attribute:
            if a.name == name:
                return self.onnx.helper.get_attribute_value(a)
        return default

    def dtype(self, node: Any, weight: int = 1) -> str | None:
        """What a node computes in; None for what is neither floating nor quantized.

        Args:
            weight: which input is the weight of an op on integers.
        """
        types = self.onnx.TensorProto
        if (quantized := self._around(node)) is not None:
            return quantized
        own = [self.types.get(i, 0) for i in node.input]
        if {types.INT8, types.UINT8} & set(own[:1]):
            return self._integer(own[:1], own[weight : weight + 1])
        floats = {
            types.FLOAT: "float32", types.FLOAT16: "float16", types.BFLOAT16: "bfloat16",
            types.DOUBLE: "float64",
        }  # fmt: skip
        made = self.types.get(node.output[0], 0)
        return floats.get(made or next(iter(own), 0), None if made else "float32")

    def _around(self, node: Any) -> str | None:
        """The integers that are dequantized before and quantized after, with a kernel for it."""
        makers = [self.maker.get(i) for i in node.input]
        known = zip(node.input, makers, strict=True)
        before = {None if m is None else m.op_type for i, m in known if i not in self.constant}
        after = self._readers[node.output[0]]
        if (before, after) != ({"DequantizeLinear"}, {"QuantizeLinear"}):
            return None
        if node.op_type not in _INTEGER:
            return None
        given = [self.types.get(m.input[0], 0) for m in makers if m is not None]
        return self._integer(given[:1], given[1:2] if node.op_type in _WEIGHTED else [])

    def _integer(self, activations: list[int], weights: list[int]) -> str:
        """int8 with weights of int8, whichever 8 bits the activations have."""
        types = self.onnx.TensorProto
        if {types.INT16, types.UINT16} & {*activations, *weights}:
            return "int16"
        return "uint8" if weights == [types.UINT8] else "int8"


_WEIGHTED = {"Conv", "Gemm", "MatMul"}


def _fused(graph: OnnxGraph, nodes: Any) -> set[int]:
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


def _gelu(graph: OnnxGraph, erf: Any, nodes: Any) -> set[int]:
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
