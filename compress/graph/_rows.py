"""One line per group, for tables that people read."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from latprof.compress.graph._graph import Graph
    from latprof.compress.graph._groups import Group

__all__ = ["GroupRow", "group_rows", "sentence_of"]


@dataclass(frozen=True)
class GroupRow:
    """What one group is and what it weighs.

    Args:
        name: of the group.
        units: how many units it has.
        channels: its channels, over all units.
        macs_share: MACs of the layers that make or read its channels, of the model's; a layer
            between two groups is in the share of both.
        params_share: parameters that are cut along with its units, of the model's.
        prunable: whether units can be removed.
        reason: what keeps them where they cannot; else empty.
    """

    name: str
    units: int
    channels: int
    macs_share: float
    params_share: float
    prunable: bool
    reason: str


def group_rows(graph: Graph) -> list[GroupRow]:
    """One row per group, in the graph's order."""
    macs: dict[str, int] = {}
    for op in graph.ops:
        macs[op.module] = macs.get(op.module, 0) + op.workload.macs
    params = {n: math.prod(s) for n, s in graph.shapes.items() if n not in graph.buffers}
    total_macs, total_params = sum(macs.values()), sum(params.values())
    rows = []
    for g in graph.groups:
        layers = {part.name.rpartition(".")[0] for part in (*g.readers, *g.writers)}
        touched = sum(n for module, n in macs.items() if _owner(module, layers))
        held = _parameters(g, params, graph.shapes)
        rows.append(
            GroupRow(
                name=g.name,
                units=g.size,
                channels=g.size * g.unit,
                macs_share=touched / total_macs if total_macs else 0.0,
                params_share=held / total_params if total_params else 0.0,
                prunable=g.prunable,
                reason=g.reason,
            )
        )
    return rows


def _owner(module: str, layers: set[str]) -> bool:
    """Whether the op's module holds one of the layers' parameters, itself or in a
    parametrization of its weight."""
    return module in layers or any(n.startswith(f"{module}.parametrizations.") for n in layers)


def _parameters(
    group: Group, params: Mapping[str, int], shapes: Mapping[str, tuple[int, ...]]
) -> float:
    """Parameters in slices of the group, each once."""
    rest: dict[str, float] = {}
    for part in (*group.readers, *group.writers):
        if part.name in params:
            size = shapes[part.name][part.dim]
            rest.setdefault(part.name, 1.0)
            rest[part.name] *= 1 - int((part.index >= 0).sum()) / size
    return sum(params[name] * (1 - share) for name, share in rest.items())


def sentence_of(unmeasured: Mapping[str, int]) -> str:
    """``in no figure, though they take time: 3 embedding, 1 sort``; empty where there are none."""
    if not unmeasured:
        return ""
    named = ", ".join(f"{count} {name}" for name, count in sorted(unmeasured.items()))
    takes = "it takes" if sum(unmeasured.values()) == 1 else "they take"
    return f"in no figure, though {takes} time: {named}"
