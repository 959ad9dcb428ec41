"""Which values share one count of channels, and which weights make and read them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from latprof.pipeline.explaining.graph._model import Model

__all__ = ["Group", "channel_groups"]

#: Ops that leave channels as they are; of two operands, both have them or one is a constant.
_TIED = {
    "Add", "AveragePool", "BatchNormalization", "Clip", "Div", "Elu", "GlobalAveragePool",
    "GlobalMaxPool", "HardSigmoid", "HardSwish", "Identity", "LeakyRelu", "MaxPool", "Mul",
    "PRelu", "Relu", "Sigmoid", "Sub", "Tanh",
}  # fmt: skip


@dataclass
class Group:
    """Values whose axis 1 has one count.

    Args:
        count: channels.
        makers: convolutions and Gemms whose outputs are among the values.
        readers: those whose inputs are.
        tied: nodes between, depthwise convolutions among them.
        fixed: something else reads or makes them.
    """

    count: int
    makers: list[Any] = field(default_factory=list)
    readers: list[Any] = field(default_factory=list)
    tied: list[Any] = field(default_factory=list)
    fixed: bool = False

    @property
    def nodes(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(
            n.output[0] for n in (*self.makers, *self.tied, *self.readers)
        ))  # fmt: skip


def channel_groups(model: Model) -> list[Group]:
    """Those that may change: made and read by weights alone."""
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        while parent.setdefault(name, name) != name:
            name = parent[name]
        return name

    kinds = [(node, _kind(model, node)) for node in model.nodes]
    for node, kind in kinds:
        if kind == "tied":
            for name in (*_values(model, node), node.output[0]):
                parent[root(name)] = root(node.output[0])
    groups: dict[str, Group] = defaultdict(lambda: Group(0))
    for node, kind in kinds:
        if kind == "tied":
            groups[root(node.output[0])].tied.append(node)
            continue
        for name in dict.fromkeys(_values(model, node)):
            group = groups[root(name)]
            group.readers.append(node)
            group.fixed |= kind == "other" or name != node.input[0]
        for out in node.output:
            group = groups[root(out)]
            group.makers.append(node)
            group.fixed |= kind == "other"
    for name in list(parent) + [o for n in model.nodes for o in n.output]:
        group, shape = groups[root(name)], model.shape(name)
        known = shape is not None and len(shape) >= 2
        count = shape[1] if known and shape is not None else 0
        group.count = group.count or count
        group.fixed |= not known or count != group.count
        group.fixed |= name in model.outputs or name in model.inputs
    return [g for g in groups.values() if not g.fixed and g.makers and g.readers]


def _values(model: Model, node: Any) -> Iterator[str]:
    return (name for name in node.input if name and name not in model.constants)


def _kind(model: Model, node: Any) -> str:
    """``tied``, ``weights`` or ``other``."""
    shape = model.shape(node.output[0]) if node.output else None
    if shape is None or len(shape) < 2 or model.type(node.output[0]) != 1:
        return "other"
    if node.op_type == "Conv" and len(node.input) > 1:
        given = model.shape(node.input[0])
        held = all(name in model.constants for name in node.input[1:] if name)
        groups = int(model.attribute(node, "group", 1))
        if not held or given is None:
            return "other"
        if groups == 1:
            return "weights"
        return "tied" if groups == given[1] == shape[1] else "other"
    if node.op_type == "Gemm" and len(node.input) > 1:
        held = all(name in model.constants for name in node.input[1:] if name)
        plain = not model.attribute(node, "transA", 0)
        return "weights" if held and plain else "other"
    if node.op_type == "Flatten" and model.attribute(node, "axis", 1) == 1:
        given = model.shape(node.input[0])
        return "tied" if given is not None and given[:2] == shape else "other"
    if node.op_type == "ReduceMean":
        given = model.shape(node.input[0])
        return "tied" if given is not None and given[:2] == shape[:2] else "other"
    if node.op_type not in _TIED:
        return "other"
    if node.op_type == "Div" and node.input[1] not in model.constants:
        return "other"  # what is padded would be divided by zero
    return "tied" if all(_fits(model, node, name, shape) for name in node.input if name) else (
        "other"
    )  # fmt: skip


def _fits(model: Model, node: Any, name: str, made: tuple[int, ...]) -> bool:
    """Whether an operand has the channels on axis 1, or none."""
    shape = model.shape(name)
    if shape is None:
        return False
    if name not in model.constants:
        return len(shape) == len(made) and shape[1] == made[1]
    return node.op_type == "BatchNormalization" or channel_axis(shape, made) is not False


def channel_axis(shape: tuple[int, ...], made: tuple[int, ...]) -> int | bool | None:
    """The axis of a constant that is broadcast along the channels; None where it is the same for
    all, False where it does not fit."""
    axis = len(shape) - len(made) + 1
    if axis < 0 or shape[axis] == 1:
        return None
    return axis if shape[axis] == made[1] else False
