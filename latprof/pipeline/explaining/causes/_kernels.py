"""Kernels that are larger than they need be: zeros at their rim, or two smaller ones for one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latprof.pipeline.explaining.causes._candidate import Candidate, Option
from latprof.pipeline.explaining.graph import Edit, Model, copied

__all__ = ["kernels"]

_LEAST = 5


def kernels(model: Model) -> Iterator[Candidate]:
    for node in model.nodes:
        if node.op_type != "Conv" or node.input[1] not in model.constants:
            continue
        shape = model.shape(node.input[1])
        if shape is None or len(shape) != 4 or shape[2] != shape[3] or shape[2] < 3:
            continue
        if model.attribute(node, "dilations", [1, 1]) != [1, 1] or not shape[2] % 2:
            continue
        padding = model.attribute(node, "pads", [0] * 4)
        if model.attribute(node, "auto_pad", b"NOTSET") not in (b"NOTSET", b""):
            continue
        size = shape[2]
        rim = min(_zero_rim(model.value(node.input[1])), *padding)
        options = []
        if rim:
            options.append(
                Option(f"leave out the zeros: a {size - 2 * rim}x{size - 2 * rim} kernel gives "
                       "the same", _trim(model, node, rim))
            )  # fmt: skip
        elif size >= _LEAST and min(padding) >= 1 and size == 2 * padding[0] + 1:
            options.append(
                Option(
                    f"use a {size - 2}x{size - 2} kernel and a 3x3 one, which see as far",
                    _split(model, node),
                    keeps=False,
                )
            )
        if options:
            zeros = f", whose outer {rim} rows and columns are zeros" if rim else ""
            yield Candidate(
                "kernel",
                f"{_described(model, node)} has a {size}x{size} kernel{zeros}",
                (node.output[0],),
                tuple(options),
            )


def _described(model: Model, node: Any) -> str:
    given, made = model.shape(node.input[0]), model.shape(node.output[0])
    if given is None or made is None:
        return "a convolution"
    wide = "x".join(map(str, made[2:]))
    depthwise = int(model.attribute(node, "group", 1)) == given[1] == made[1] > 1
    kind = f"depthwise convolution of {made[1]}" if depthwise else (
        f"convolution from {given[1]} to {made[1]}"
    )  # fmt: skip
    return f"a {kind} channels at {wide}"


def _zero_rim(weights: NDArray[Any]) -> int:
    """How many rows and columns at each side are zeros."""
    size = weights.shape[-1]
    used = np.abs(weights).max(axis=(0, 1)) > 0  # (k, k)
    rim = 0
    while rim < size // 2:
        inner = used[rim + 1 : size - rim - 1, rim + 1 : size - rim - 1]
        if used.sum() != inner.sum():
            break
        rim += 1
    return rim


def _trim(model: Model, node: Any, rim: int) -> Callable[[Edit], None]:
    def apply(edit: Edit) -> None:
        changed = edit.node(node.output[0])
        weights = model.value(node.input[1])[:, :, rim:-rim, rim:-rim]
        pads = [pad - rim for pad in model.attribute(node, "pads")]
        edit.set_attribute(changed, "kernel_shape", list(weights.shape[2:]))
        edit.set_attribute(changed, "pads", pads)
        edit.set_input(changed, 1, np.ascontiguousarray(weights))

    return apply


def _split(model: Model, node: Any) -> Callable[[Edit], None]:
    """The first one keeps the stride; weights of the second are near to passing on."""

    def apply(edit: Edit) -> None:
        weights = model.value(node.input[1])
        groups = int(model.attribute(node, "group", 1))
        size, c_out = weights.shape[-1], weights.shape[0]
        small = (size - 3) // 2
        first = copied(node)
        first.output[0] = edit.new_name(node.output[0])
        first.input[1] = edit.hold(np.ascontiguousarray(weights[:, :, 1:-1, 1:-1]), "weights")
        edit.set_attribute(first, "kernel_shape", [size - 2] * 2)
        edit.set_attribute(first, "pads", [small] * 4)
        depthwise = groups == c_out
        last = np.full((c_out, 1 if depthwise else c_out // groups, 3, 3), 1e-3, np.float32)
        last[:, :, 1, 1] = 1.0
        second = edit.make(
            "Conv", [first.output[0], edit.hold(last, "weights")], node.output[0],
            kernel_shape=[3, 3], pads=[1] * 4, group=c_out if depthwise else groups,
        )  # fmt: skip
        edit.replace([node.output[0]], [first, second])

    return apply
