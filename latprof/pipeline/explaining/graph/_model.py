"""An ONNX file as it is explained: all of it in memory, with every shape known."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latprof.compress.read import OnnxNodes, read_onnx_nodes
from latprof.errors import ModelLoadError, UsageError
from latprof.vocabulary import require

__all__ = ["Model", "copied", "inputs_of", "load_file", "save_model"]

_MAX_BYTES = (1 << 31) - 1


class Model:
    """The main graph of a model, by names. A node is named by its first output.

    Args:
        proto: onnx.ModelProto with its weights in it, and constants as initializers.
        known: shapes, types and workloads.
    """

    def __init__(self, proto: Any, known: OnnxNodes) -> None:
        self.onnx = require("onnx", extra="onnx", why="explaining an .onnx file")
        self.proto, self.known = proto, known
        self.nodes = list(proto.graph.node)
        self.constants = {tensor.name: tensor for tensor in proto.graph.initializer}
        self.inputs = [i.name for i in proto.graph.input if i.name not in self.constants]
        self.outputs = [o.name for o in proto.graph.output]
        self.maker = {out: node for node in self.nodes for out in node.output if out}
        self._readers: dict[str, list[Any]] = defaultdict(list)
        for node in self.nodes:
            for name in inputs_of(node):
                self._readers[name].append(node)

    def readers(self, name: str) -> list[Any]:
        return self._readers.get(name, [])

    def reader(self, name: str) -> Any | None:
        """The node that alone reads a value; None where there are several, or it is an output."""
        found = self.readers(name)
        return found[0] if len(found) == 1 and name not in self.outputs else None

    def shape(self, name: str) -> tuple[int, ...] | None:
        if name in self.constants:
            return tuple(self.constants[name].dims)
        return self.known.shapes.get(name)

    def type(self, name: str) -> int:
        if name in self.constants:
            return int(self.constants[name].data_type)
        return self.known.types.get(name, 0)

    def value(self, name: str) -> NDArray[Any]:
        """Of a constant."""
        found: NDArray[Any] = self.onnx.numpy_helper.to_array(self.constants[name])
        return found

    def scalar(self, name: str) -> float | None:
        """The one number a constant holds everywhere; None where it is none."""
        if name not in self.constants:
            return None
        value = self.value(name)
        first = value.reshape(-1)[:1]
        return float(first[0]) if value.size and bool((value == first[0]).all()) else None

    def attribute(self, node: Any, name: str, default: Any = None) -> Any:
        for found in node.attribute:
            if found.name == name:
                return self.onnx.helper.get_attribute_value(found)
        return default


def copied(proto: Any) -> Any:
    """A copy of a model or of a node."""
    made = type(proto)()
    made.CopyFrom(proto)
    return made


def inputs_of(node: Any) -> Iterable[str]:
    """Also what the bodies of an If, Loop or Scan read from outside."""
    yield from (name for name in node.input if name)
    for attribute in node.attribute:
        if attribute.HasField("g"):
            for inner in attribute.g.node:
                yield from inputs_of(inner)
            yield from (out.name for out in attribute.g.output)


def load_file(path: Path) -> Model:
    """A file with its weights, functions inlined, open batches 1.

    Raises:
        UsageError: not ONNX.
        ModelLoadError: no such file, not a model, open dims beyond the batch, or above 2 GB.
    """
    if path.suffix != ".onnx":
        raise UsageError(f"{path}: suffix is {path.suffix!r}; expected .onnx, which why explains")
    if not path.is_file():
        raise ModelLoadError(f"MODEL {path}: no such file")
    onnx = require("onnx", extra="onnx", why="explaining an .onnx file")
    inliner = require("onnx.inliner", extra="onnx", why="explaining an .onnx file")
    known = read_onnx_nodes(path)
    proto = onnx.load(str(path))
    if proto.ByteSize() > _MAX_BYTES:
        raise ModelLoadError(f"MODEL {path}: its weights are above 2 GB; expected a smaller file")
    if proto.functions:
        proto = inliner.inline_local_functions(proto)
    _close_shapes(proto.graph, known)
    _hold_constants(onnx, proto.graph)
    return Model(proto, known)


def _close_shapes(graph: Any, known: OnnxNodes) -> None:
    del graph.value_info[:]
    for info in (*graph.input, *graph.output):
        shape = known.shapes.get(info.name)
        if shape is None or not info.type.HasField("tensor_type"):
            continue
        dims = info.type.tensor_type.shape.dim
        if len(dims) == len(shape):
            for dim, size in zip(dims, shape, strict=True):
                dim.dim_value = size


def _hold_constants(onnx: Any, graph: Any) -> None:
    """Constant nodes become initializers; an input that has one is no input."""
    kept = []
    for node in graph.node:
        tensor = next((a.t for a in node.attribute if a.name == "value"), None)
        if node.op_type == "Constant" and tensor is not None:
            held = graph.initializer.add()
            held.CopyFrom(tensor)
            held.name = node.output[0]
        else:
            kept.append(node)
    del graph.node[:]
    graph.node.extend(kept)
    weights = {tensor.name for tensor in graph.initializer}
    inputs = [info for info in graph.input if info.name not in weights]
    del graph.input[:]
    graph.input.extend(inputs)


def save_model(proto: Any, path: Path) -> Path:
    path.write_bytes(proto.SerializeToString())
    return path


def as_float32(array: NDArray[Any]) -> NDArray[np.float32]:
    return np.ascontiguousarray(array, np.float32)
