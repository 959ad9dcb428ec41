"""Float ops between quantized ones: their weights are not quantized, all around them is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from latprof.pipeline.explaining.causes._candidate import Candidate, Option
from latprof.pipeline.explaining.graph import Edit, Model, copied

__all__ = ["float_island"]

#: Op: the axis of its weights that has one scale for each index.
_OUTPUT_AXIS = {"Conv": 0, "Gemm": None, "MatMul": None}
#: Activations between it and the next quantized value: those that integer kernels take in, and
#: those before which the value has to be quantized too.
_FUSED, _APART = {"Relu", "Clip"}, {"HardSwish", "LeakyRelu"}
_FLOAT = 1


def float_island(model: Model) -> Iterator[Candidate]:
    for node in model.nodes:
        if node.op_type not in _OUTPUT_AXIS or len(node.input) < 2:
            continue
        if node.input[1] not in model.constants or model.type(node.input[1]) != _FLOAT:
            continue
        before = model.maker.get(node.input[0])
        if before is None or before.op_type != "DequantizeLinear":
            continue
        nodes = [node]
        after = model.reader(node.output[0])
        while after is not None and after.op_type in _FUSED | _APART:
            nodes.append(after)
            after = model.reader(after.output[0])
        if after is None or after.op_type != "QuantizeLinear":
            continue
        yield Candidate(
            "float-island",
            f"{node.op_type} runs in floats between quantized values: its weights are float32",
            tuple(n.output[0] for n in (before, *nodes, after)),
            (
                Option(
                    "quantize its weights to int8",
                    _quantize(model, node, nodes[1:], after),
                    keeps=False,
                ),
            ),
        )


def _quantize(
    model: Model, node: Any, activations: Sequence[Any], after: Any
) -> Callable[[Edit], None]:
    def apply(edit: Edit) -> None:
        weights = model.value(node.input[1])
        axis = _OUTPUT_AXIS[node.op_type]
        others = None if axis is None else tuple(d for d in range(weights.ndim) if d != axis)
        largest = np.abs(weights).max(axis=others, keepdims=True)
        scales = np.where(largest == 0, 1.0, largest / 127).astype(np.float32)
        steps = np.clip(np.round(weights / scales), -127, 127).astype(np.int8)
        flat = scales.reshape(()) if axis is None else scales.reshape(-1)
        given = [
            edit.hold(steps, node.input[1]),
            edit.hold(flat, "scale"),
            edit.hold(np.zeros(flat.shape, np.int8), "zero_point"),
        ]
        name = edit.new_name(node.input[1])
        along = {} if axis is None else {"axis": axis}
        restored = edit.make("DequantizeLinear", given, name, **along)
        changed = copied(node)
        changed.input[1] = name
        made = [restored, *_bias(model, node, changed, flat, edit)]
        if any(one.op_type in _APART for one in activations):
            made += _quantized_result(node.output[0], changed, after, edit)
        edit.replace([node.output[0]], made)

    return apply


def _quantized_result(result: str, changed: Any, after: Any, edit: Edit) -> list[Any]:
    """The result in the steps that it is quantized to after its activation."""
    changed.output[0] = edit.new_name(result)
    stepped, steps = edit.new_name(result), after.input[1:]
    return [
        edit.make("QuantizeLinear", [changed.output[0], *steps], stepped),
        edit.make("DequantizeLinear", [stepped, *steps], result),
    ]


def _bias(model: Model, node: Any, changed: Any, scales: Any, edit: Edit) -> list[Any]:
    """The op, after its bias in int32 where it has one: else it stays in floats."""
    before = model.maker[node.input[0]]
    if len(node.input) < 3 or node.input[2] not in model.constants:
        return [changed]
    scale = (scales * model.scalar(before.input[1])).astype(np.float32)
    bias = model.value(node.input[2])
    steps = np.clip(np.round(bias / scale), -(2**31), 2**31 - 1).astype(np.int32)
    given = [edit.hold(steps, node.input[2]), edit.hold(scale, "bias_scale")]
    along = {"axis": 0} if scale.ndim else {}
    name = edit.new_name(node.input[2])
    changed.input[2] = name
    return [edit.make("DequantizeLinear", given, name, **along), changed]
