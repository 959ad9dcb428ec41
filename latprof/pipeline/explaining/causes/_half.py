"""A file in float16 on a device that may compute float32 faster."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from latprof.pipeline.explaining.causes._candidate import Candidate, Option
from latprof.pipeline.explaining.graph import Edit, Model

__all__ = ["half"]

_FLOAT, _HALF = 1, 10


def half(model: Model) -> Iterator[Candidate]:
    computed = [node for node in model.nodes if model.type(node.output[0]) == _HALF]
    weighted = [
        node
        for node in computed
        if any(i in model.constants and model.type(i) == _HALF for i in node.input)
    ]
    if not weighted or any(a.HasField("g") for n in model.nodes for a in n.attribute):
        return
    yield Candidate(
        "float16",
        f"{len(computed)} of {len(model.nodes)} nodes compute in float16",
        tuple(node.output[0] for node in model.nodes),
        (Option("write the file in float32", _widen),),
    )


def _widen(edit: Edit) -> None:
    for tensor in edit.graph.initializer:
        if tensor.data_type == _HALF:
            array = edit.onnx.numpy_helper.to_array(tensor).astype(np.float32)
            tensor.CopyFrom(edit.onnx.numpy_helper.from_array(array, tensor.name))
    for info in (*edit.graph.input, *edit.graph.output):
        if info.type.tensor_type.elem_type == _HALF:
            info.type.tensor_type.elem_type = _FLOAT
    for node in edit.graph.node:
        for attribute in node.attribute:
            _widen_attribute(edit, node, attribute)


def _widen_attribute(edit: Edit, node: Any, attribute: Any) -> None:
    if node.op_type == "Cast" and attribute.name == "to" and attribute.i == _HALF:
        attribute.i = _FLOAT
    elif attribute.HasField("t") and attribute.t.data_type == _HALF:
        array = edit.onnx.numpy_helper.to_array(attribute.t).astype(np.float32)
        attribute.t.CopyFrom(edit.onnx.numpy_helper.from_array(array, attribute.t.name))
