"""Counts of channels that the runtime's kernels do not divide into whole blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latprof.pipeline.explaining.causes._candidate import Candidate, Option
from latprof.pipeline.explaining.graph import Edit, Group, Model, channel_axis, channel_groups

__all__ = ["channels"]

#: Blocks of channels that kernels of CPUs are written for; no block is larger.
_BLOCKS = (16, 8, 4)
#: A count may change by this part.
_MAX_CHANGE = 0.125


def channels(model: Model) -> Iterator[Candidate]:
    for group in channel_groups(model):
        options = [_option(model, group, count) for count in _near(group.count)]
        if not options:
            continue
        convs = [n for n in (*group.makers, *group.tied) if n.op_type in ("Conv", "Gemm")]
        depthwise = [n for n in group.tied if n.op_type == "Conv"]
        what = f"{len(convs)} convolutions have" if len(convs) > 1 else "a convolution has"
        inside = f", {len(depthwise)} of them depthwise" if depthwise else ""
        yield Candidate(
            "channels", f"{what} {group.count} channels{inside}", group.nodes, tuple(options)
        )


def _near(count: int) -> list[int]:
    """Whole blocks a little above, which lose nothing, and a little below."""
    above = {-(-count // block) * block for block in _BLOCKS}
    below = {count // block * block for block in _BLOCKS}
    most = _MAX_CHANGE * count
    return [n for n in (*sorted(above - {count}), *sorted(below - {count}, reverse=True))
            if abs(n - count) <= most and n > 0]  # fmt: skip


def _option(model: Model, group: Group, count: int) -> Option:
    if count > group.count:
        return Option(f"pad them to {count} with zeros", _resize(model, group, count))
    return Option(
        f"use {count}", _resize(model, group, count), keeps=False, proportion=count / group.count
    )


def _resize(model: Model, group: Group, count: int) -> Callable[[Edit], None]:
    def apply(edit: Edit) -> None:
        kept = _largest(model, group, count) if count < group.count else None

        def along(array: NDArray[Any], axis: int, filled: float = 0.0) -> NDArray[Any]:
            if kept is not None:
                return np.ascontiguousarray(array.take(kept, axis))
            widths = [(0, 0)] * array.ndim
            widths[axis] = (0, count - group.count)
            return np.pad(array, widths, constant_values=filled)

        for node in group.makers:
            changed = edit.node(node.output[0])
            axis = _axes(model, node)[1]
            edit.set_input(changed, 1, along(edit.value(changed.input[1]), axis))
            if len(changed.input) > 2 and changed.input[2]:
                bias = edit.value(changed.input[2])
                if bias.size > 1:
                    edit.set_input(changed, 2, along(bias, bias.ndim - 1))
        for node in group.readers:
            changed = edit.node(node.output[0])
            edit.set_input(changed, 1, along(edit.value(changed.input[1]), _axes(model, node)[0]))
        for node in group.tied:
            _resize_tied(model, node, edit, along, count)

    return apply


def _resize_tied(
    model: Model, node: Any, edit: Edit, along: Callable[..., NDArray[Any]], count: int
) -> None:
    changed, made = edit.node(node.output[0]), model.shape(node.output[0])
    assert made is not None
    if node.op_type == "Conv":
        edit.set_attribute(changed, "group", count)
    for i, name in enumerate(node.input):
        if name not in model.constants:
            continue
        if node.op_type in ("Conv", "BatchNormalization"):
            variance = node.op_type == "BatchNormalization" and i == 4
            edit.set_input(changed, i, along(model.value(name), 0, float(variance)))
            continue
        axis = channel_axis(model.shape(name) or (), made)
        if axis is not None and node.op_type != "Clip":
            divides = node.op_type == "Div" and i == 1
            edit.set_input(changed, i, along(model.value(name), int(axis), float(divides)))


def _axes(model: Model, node: Any) -> tuple[int, int]:
    """(of the channels read, of those made) in the weights."""
    if node.op_type == "Gemm":
        return (1, 0) if model.attribute(node, "transB", 0) else (0, 1)
    return 1, 0


def _largest(model: Model, group: Group, count: int) -> NDArray[np.intp]:
    """The channels with the largest weights."""
    total = np.zeros(group.count)
    for node in group.makers:
        weights, axis = model.value(node.input[1]), _axes(model, node)[1]
        total += np.abs(weights).sum(axis=tuple(d for d in range(weights.ndim) if d != axis))
    return np.sort(np.argsort(-total, kind="stable")[:count])
