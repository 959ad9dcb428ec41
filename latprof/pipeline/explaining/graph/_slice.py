"""A few nodes of a model as a model of their own."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from latprof.pipeline.explaining.graph._model import Model, inputs_of

__all__ = ["UnknownShape", "slice_model"]


class UnknownShape(Exception):
    """A value on the border of the slice has none that is known."""


def slice_model(model: Model, outputs: Collection[str]) -> Any:
    """The nodes whose first outputs these are, as an onnx.ModelProto.

    Raises:
        UnknownShape: it cannot stand alone.
    """
    helper = model.onnx.helper
    nodes = [node for node in model.nodes if node.output[0] in outputs]
    made = {out for node in nodes for out in node.output if out}
    read = list(dict.fromkeys(name for node in nodes for name in inputs_of(node)))
    weights = [model.constants[name] for name in read if name in model.constants]
    given = [name for name in read if name not in made and name not in model.constants]
    inside = {id(node) for node in nodes}
    results = [
        out for node in nodes for out in node.output if out and _is_used_outside(model, out, inside)
    ]

    def info(name: str) -> Any:
        shape, kind = model.shape(name), model.type(name)
        if shape is None or not kind:
            raise UnknownShape(name)
        return helper.make_tensor_value_info(name, kind, shape)

    graph = helper.make_graph(
        nodes, "slice", [info(name) for name in given], [info(name) for name in results], weights
    )
    return helper.make_model(
        graph, opset_imports=model.proto.opset_import, ir_version=model.proto.ir_version
    )


def _is_used_outside(model: Model, name: str, inside: set[int]) -> bool:
    """Also where nobody uses it at all: it is made nevertheless."""
    readers = model.readers(name)
    return name in model.outputs or not readers or any(id(r) not in inside for r in readers)
