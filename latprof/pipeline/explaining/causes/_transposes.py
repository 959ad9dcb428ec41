"""Values that are moved to another layout and back, around ops that do not care.

Whether the moves undo each other is computed: the positions of all values are followed through
them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latprof.pipeline.explaining.causes._candidate import Candidate, Option, op_names
from latprof.pipeline.explaining.graph import Edit, Model, copied, with_neighbors

__all__ = ["transposes"]

_RESHAPES = {"Reshape", "Flatten", "Squeeze", "Unsqueeze"}
#: Ops on one value at a time; of two operands, the other one a constant.
_POINTWISE = {
    "Abs", "Add", "Clip", "Div", "Elu", "Erf", "Exp", "Gelu", "HardSigmoid", "HardSwish",
    "Identity", "LeakyRelu", "Log", "Max", "Min", "Mish", "Mul", "Neg", "PRelu", "Pow", "Relu",
    "Selu", "Sigmoid", "Softplus", "Sqrt", "Sub", "Tanh",
}  # fmt: skip
_MAX_VALUES = 1 << 24


def transposes(model: Model) -> Iterator[Candidate]:
    covered: set[str] = set()
    for first in model.nodes:
        if first.op_type != "Transpose" or first.output[0] in covered:
            continue
        chain = _there_and_back(model, first)
        if not chain:
            continue
        covered |= {node.output[0] for node in chain}
        moves = sum(node.op_type == "Transpose" for node in chain)
        pointwise = [node for node in chain if node.op_type in _POINTWISE]
        yield Candidate(
            "transposes",
            f"{moves} transposes move values and move them back, around {op_names(pointwise)}",
            with_neighbors(model, chain),
            (Option("drop them: what is between takes either layout", _drop(model, chain)),),
        )


def _there_and_back(model: Model, first: Any) -> list[Any]:
    """The longest chain after which every value is where it was; empty where there is none."""
    shape = model.shape(first.input[0])
    if shape is None or math.prod(shape) > _MAX_VALUES:
        return []
    start = np.arange(math.prod(shape), dtype=np.int32).reshape(shape)
    place, found = start, 0
    chain: list[Any] = []
    node: Any | None = first
    while node is not None:
        name = chain[-1].output[0] if chain else first.input[0]
        moved = _move(model, node, name, place)
        if moved is None:
            break
        place = moved
        chain.append(node)
        if node.op_type not in _POINTWISE and np.array_equal(place, start):
            found = len(chain)
        node = model.reader(node.output[0])
    return chain[:found]


def _move(model: Model, node: Any, name: str, place: NDArray[Any]) -> NDArray[Any] | None:
    """Where each value is after a node; None where it does more than move or change it alone."""
    made = model.shape(node.output[0])
    if made is None or (node.input[0] != name and node.op_type not in _POINTWISE):
        return None
    if node.op_type == "Transpose":
        return place.transpose(model.attribute(node, "perm", list(range(place.ndim))[::-1]))
    if node.op_type in _RESHAPES:
        return place.reshape(made)
    others = [i for i in node.input if i and i != name]
    alone = len(node.input) - len(others) == 1 and all(o in model.constants for o in others)
    return place if node.op_type in _POINTWISE and made == place.shape and alone else None


def _drop(model: Model, chain: list[Any]) -> Callable[[Edit], None]:
    def apply(edit: Edit) -> None:
        source = name = chain[0].input[0]
        shape = model.shape(name)
        assert shape is not None
        place = np.arange(math.prod(shape), dtype=np.int32).reshape(shape)
        nodes = []
        for node in chain:
            moved = _move(model, node, name, place)
            assert moved is not None
            place, name = moved, node.output[0]
            if node.op_type not in _POINTWISE:
                continue
            made = copied(node)
            for i, given in enumerate(node.input):
                if given not in model.constants:
                    made.input[i] = source
                elif (constant := model.value(given)).size > 1:
                    made.input[i] = edit.hold(_moved_back(constant, place, shape), given)
            source = made.output[0]
            nodes.append(made)
        nodes.append(edit.make("Identity", [source], chain[-1].output[0]))
        edit.replace([node.output[0] for node in chain], nodes)

    return apply


def _moved_back(
    constant: NDArray[Any], place: NDArray[Any], shape: tuple[int, ...]
) -> NDArray[Any]:
    """A constant that is broadcast to ``place``, for values where they were at first."""
    full = np.empty(math.prod(shape), constant.dtype)
    full[place.reshape(-1)] = np.broadcast_to(constant, place.shape).reshape(-1)
    full = full.reshape(shape)
    for axis in range(full.ndim):  # as small as it was
        one = full.take([0], axis)
        if np.array_equal(np.broadcast_to(one, full.shape), full):
            full = one
    return full
