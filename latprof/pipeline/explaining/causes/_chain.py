"""Many small ops in a row where one product and one sum would do: each costs a call and a pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latprof.pipeline.explaining.causes._candidate import Candidate, Option
from latprof.pipeline.explaining.graph import Edit, Model, with_neighbors

__all__ = ["chain"]

_LINEAR = {"Add", "Sub", "Mul", "Div"}
_FLOAT = 1
#: Shorter ones are as short as they get.
_LEAST = 3

_Factors = tuple[NDArray[np.float64], NDArray[np.float64]]


def chain(model: Model) -> Iterator[Candidate]:
    covered: set[str] = set()
    for node in model.nodes:
        if node.output[0] in covered:
            continue
        source, nodes = _linear(model, node)
        covered |= {n.output[0] for n in nodes}
        if len(nodes) < _LEAST:
            continue
        yield Candidate(
            "chain",
            f"{len(nodes)} ops in a row only multiply by constants and add them",
            with_neighbors(model, nodes),
            (Option("write one Mul and one Add", _fold(model, source, nodes)),),
        )


def _linear(model: Model, node: Any) -> tuple[str, list[Any]]:
    """(what goes in, the nodes), of the longest chain that starts here."""
    source, nodes = "", []
    name: str | None = None
    while node is not None and node.op_type in _LINEAR and len(node.input) == 2:
        given = [i for i in node.input if i not in model.constants]
        if len(given) != 1 or (name is not None and given[0] != name):
            break
        if node.op_type == "Div" and node.input[0] in model.constants:
            break
        shape = model.shape(node.output[0])
        if model.type(given[0]) != _FLOAT or shape is None or model.shape(given[0]) != shape:
            break
        source = source or given[0]
        nodes.append(node)
        name = node.output[0]
        node = model.reader(name)
    return source, nodes


def _fold(model: Model, source: str, nodes: list[Any]) -> Callable[[Edit], None]:
    def apply(edit: Edit) -> None:
        factor, term = np.array(1.0), np.array(0.0)
        for node in nodes:
            factor, term = _then(model, node, factor, term)
        between = edit.new_name(nodes[-1].output[0])
        made = [
            edit.make("Mul", [source, edit.hold(factor.astype(np.float32), "factor")], between),
            edit.make(
                "Add",
                [between, edit.hold(term.astype(np.float32), "term")],
                nodes[-1].output[0],
            ),
        ]
        edit.replace([n.output[0] for n in nodes], made)

    return apply


def _then(
    model: Model, node: Any, factor: NDArray[np.float64], term: NDArray[np.float64]
) -> _Factors:
    """y = factor * x + term, after one more op."""
    first = node.input[0] in model.constants
    value = model.value(node.input[0 if first else 1]).astype(np.float64)
    if node.op_type == "Add":
        return factor, term + value
    if node.op_type == "Sub":
        return (-factor, value - term) if first else (factor, term - value)
    if node.op_type == "Mul":
        return factor * value, term * value
    return factor / value, term / value
