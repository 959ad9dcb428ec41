"""Values that are cast to another float type and back, with little or nothing done between."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from latprof.pipeline.explaining.causes._candidate import Candidate, Option, op_names
from latprof.pipeline.explaining.graph import Edit, Model, copied, with_neighbors

__all__ = ["casts"]

#: ONNX element types.
_FLOAT, _NAMES = 1, {10: "float16", 11: "float64", 16: "bfloat16"}
_OPAQUE = {"Cast", "CastLike", "QuantizeLinear", "DequantizeLinear", "If", "Loop", "Scan"}


def casts(model: Model) -> Iterator[Candidate]:
    for first in model.nodes:
        if first.op_type != "Cast" or model.type(first.input[0]) != _FLOAT:
            continue
        name = _NAMES.get(int(model.attribute(first, "to", 0)))
        between, last = _until_back(model, first)
        if name is None or last is None:
            continue
        yield Candidate(
            "casts",
            f"float32 is cast to {name} and back around {op_names(between)}",
            with_neighbors(model, (first, *between, last)),
            (Option("stay in float32", _stay(model, first, between, last)),),
        )


def _until_back(model: Model, first: Any) -> tuple[list[Any], Any | None]:
    """The nodes after a cast, each read by the next alone, and the cast back to float32."""
    between: list[Any] = []
    name = first.output[0]
    while (node := model.reader(name)) is not None:
        if node.op_type == "Cast":
            return between, node if int(model.attribute(node, "to", 0)) == _FLOAT else None
        others = [i for i in node.input if i and i != name]
        if node.op_type in _OPAQUE or len(node.output) != 1:
            break
        if any(other not in model.constants for other in others):
            break
        between.append(node)
        name = node.output[0]
    return between, None


def _stay(model: Model, first: Any, between: list[Any], last: Any) -> Any:
    narrow = int(model.attribute(first, "to", 0))

    def apply(edit: Edit) -> None:
        source, nodes = first.input[0], []
        for node in between:
            made = copied(node)
            for i, name in enumerate(node.input):
                if name in model.constants:
                    if model.type(name) == narrow:
                        made.input[i] = edit.hold(model.value(name).astype("float32"), name)
                else:
                    made.input[i] = source
            source = made.output[0]
            nodes.append(made)
        nodes.append(edit.make("Identity", [source], last.output[0]))
        edit.replace([node.output[0] for node in (first, *between, last)], nodes)

    return apply
