"""Activations written out of several ops, which the runtime neither fuses nor knows as one."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from latprof.pipeline.explaining.causes._candidate import Candidate, Option
from latprof.pipeline.explaining.graph import FUSING, Edit, Model, with_neighbors

__all__ = ["activation"]

#: (op, attributes, its input, the nodes it replaces); the last of these makes the result.
_Match = tuple[str, dict[str, float], str, list[Any]]
_HARD_SWISH_OPSET = 14


def activation(model: Model) -> Iterator[Candidate]:
    for node in model.nodes:
        for match in (_relu, _leaky_relu, _relu6, _sigmoid, _hard_swish):
            found = match(model, node)
            if found is None:
                continue
            op, attributes, source, old = found
            ops = ", ".join(n.op_type for n in old)
            before = model.maker.get(source)
            fused = before if before is not None and before.op_type in FUSING else None
            after = f" after {fused.op_type}" if fused is not None else ""
            yield Candidate(
                "activation",
                f"{op} is written as {ops}{after}",
                with_neighbors(model, old),
                (Option(f"write {op}", _one_op(op, attributes, source, old)),),
            )
            break


def _one_op(
    op: str, attributes: dict[str, float], source: str, old: list[Any]
) -> Callable[[Edit], None]:
    def apply(edit: Edit) -> None:
        inputs, kept = [source], dict(attributes)
        if op == "Clip":
            inputs += [
                edit.hold(np.array(kept.pop("min"), np.float32), "min"),
                edit.hold(np.array(kept.pop("max"), np.float32), "max"),
            ]
        made = edit.make(op, inputs, old[-1].output[0], **kept)
        edit.replace([n.output[0] for n in old], [made])

    return apply


def _operands(model: Model, node: Any | None, op: str) -> Iterator[tuple[str, str]]:
    """(one, other) operand of a binary op, either way round."""
    if node is not None and node.op_type == op and len(node.input) == 2:
        yield node.input[0], node.input[1]
        yield node.input[1], node.input[0]


def _alone(model: Model, name: str) -> Any | None:
    """What makes a value that one node reads."""
    return model.maker.get(name) if model.reader(name) is not None else None


def _is(model: Model, name: str, value: float) -> bool:
    found = model.scalar(name)
    return found is not None and math.isclose(found, value, rel_tol=1e-3, abs_tol=1e-6)


def _relu(model: Model, node: Any) -> _Match | None:
    if _bounded(model, node) is not None or any(r.op_type == "Min" for r in
                                                model.readers(node.output[0])):  # fmt: skip
        return None  # a part of ReLU6
    for x, zero in _operands(model, node, "Max"):
        if x not in model.constants and _is(model, zero, 0.0):
            return "Relu", {}, x, [node]
    return None


def _leaky_relu(model: Model, node: Any) -> _Match | None:
    if node.op_type == "PRelu" and (slope := model.scalar(node.input[1])) is not None:
        return "LeakyRelu", {"alpha": slope}, node.input[0], [node]
    for x, scaled in _operands(model, node, "Max"):
        product = _alone(model, scaled)
        for y, factor in _operands(model, product, "Mul"):
            slope = model.scalar(factor)
            if y == x and slope is not None and 0 < slope < 1:
                return "LeakyRelu", {"alpha": slope}, x, [product, node]
    return None


def _bounded(model: Model, node: Any | None) -> tuple[str, float, float, list[Any]] | None:
    """(input, lower, upper, nodes) of a Clip, or of a Min of a Max or ReLU."""
    if node is None:
        return None
    if node.op_type == "Clip" and len(node.input) == 3:
        bounds = [model.scalar(name) for name in node.input[1:]]
        if bounds[0] is not None and bounds[1] is not None:
            return node.input[0], bounds[0], bounds[1], [node]
    for y, limit in _operands(model, node, "Min"):
        upper, inner = model.scalar(limit), _alone(model, y)
        if upper is None or inner is None:
            continue
        if inner.op_type == "Relu":
            return inner.input[0], 0.0, upper, [inner, node]
        for x, limit in _operands(model, inner, "Max"):
            lower = model.scalar(limit)
            if lower is not None and x not in model.constants:
                return x, lower, upper, [inner, node]
    return None


def _relu6(model: Model, node: Any) -> _Match | None:
    found = _bounded(model, node)
    if found is None or len(found[3]) == 1:
        return None
    x, lower, upper, nodes = found
    return "Clip", {"min": lower, "max": upper}, x, nodes


def _sigmoid(model: Model, node: Any) -> _Match | None:
    """1 / (1 + exp(-x))."""
    if node.op_type == "Reciprocal":
        total = node.input[0]
    elif node.op_type == "Div" and _is(model, node.input[0], 1.0):
        total = node.input[1]
    else:
        return None
    plus = _alone(model, total)
    for term, one in _operands(model, plus, "Add"):
        power = _alone(model, term)
        if not _is(model, one, 1.0) or power is None or power.op_type != "Exp":
            continue
        minus = _alone(model, power.input[0])
        if minus is not None and minus.op_type == "Neg":
            return "Sigmoid", {}, minus.input[0], [minus, power, plus, node]
        for x, factor in _operands(model, minus, "Mul"):
            if _is(model, factor, -1.0):
                return "Sigmoid", {}, x, [minus, power, plus, node]
    return None


def _hard_swish(model: Model, node: Any) -> _Match | None:
    """x * clip(x + 3, 0, 6) / 6, whichever factor is divided."""
    opset = max((o.version for o in model.proto.opset_import if o.domain in ("", "ai.onnx")),
                default=1)  # fmt: skip
    if opset < _HARD_SWISH_OPSET:
        return None
    if (product := _sixth(model, node)) is not None:  # of the product
        inner = _alone(model, product)
        for x, gate in _operands(model, inner, "Mul"):
            gated = _gate(model, _alone(model, gate), x)
            if gated is not None:
                return "HardSwish", {}, x, [*gated, inner, node]
    for x, gate in _operands(model, node, "Mul"):
        divided = _alone(model, gate)
        inner_name = _sixth(model, divided)
        if divided is None or inner_name is None:
            continue
        gated = _gate(model, _alone(model, inner_name), x)
        if gated is not None:
            return "HardSwish", {}, x, [*gated, divided, node]
    return None


def _sixth(model: Model, node: Any | None) -> str | None:
    """The value that a node divides by 6."""
    if node is not None and node.op_type == "Div" and _is(model, node.input[1], 6.0):
        return str(node.input[0])
    for value, factor in _operands(model, node, "Mul"):
        if _is(model, factor, 1 / 6):
            return value
    return None


def _gate(model: Model, node: Any | None, x: str) -> list[Any] | None:
    """The nodes of clip(x + 3, 0, 6)."""
    found = _bounded(model, node)
    if found is None or not (found[1] == 0 and found[2] == 6):
        return None
    plus = _alone(model, found[0])
    for y, three in _operands(model, plus, "Add"):
        if y == x and _is(model, three, 3.0):
            return [plus, *found[3]]
    return None
