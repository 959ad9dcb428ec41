"""A traced model that takes tokens, at other numbers of them and at a step of decoding."""

from __future__ import annotations

import dataclasses
from typing import Any

from latprof.compress.graph._graph import Graph
from latprof.errors import UsageError
from latprof.workloads import Elementwise, MatMul, Workload

__all__ = ["decoding_graph", "with_ops_of"]


def with_ops_of(graph: Graph, other: Graph) -> Graph:
    """The graph, with the workloads that the same model has at the inputs of ``other``.

    Raises:
        UsageError: the model computes something else there.
    """
    alike = len(graph.ops) == len(other.ops) and [(g.name, g.size) for g in graph.groups] == [
        (g.name, g.size) for g in other.groups
    ]
    for own, theirs in zip(graph.ops, other.ops, strict=False):
        alike &= own.module == theirs.module and own.mixing == theirs.mixing
        alike &= own.workload.label == theirs.workload.label
    if not alike:
        raise UsageError(
            f"{graph.name} has other ops at other inputs ({len(graph.ops)} and {len(other.ops)}); "
            "its latency there cannot be told from its channels here"
        )
    return dataclasses.replace(graph, ops=other.ops, inputs=other.inputs)


def decoding_graph(graph: Graph, longer: Graph, tokens: int) -> Graph:
    """The step that makes one token, the keys and values of the others in a cache.

    Two traces show what depends on the number of tokens. One query then meets all keys, and all
    else is computed for one token.

    Args:
        graph: at ``tokens`` tokens, the new one among them.
        longer: at twice as many.

    Raises:
        UsageError: the model computes something else there, or not token by token.
    """
    longer = with_ops_of(graph, longer)
    ops = tuple(
        dataclasses.replace(op, workload=_of_one_token(op.workload, at_twice.workload, tokens))
        for op, at_twice in zip(graph.ops, longer.ops, strict=True)
    )
    return dataclasses.replace(graph, ops=ops)


def _of_one_token(workload: Workload, at_twice: Workload, tokens: int) -> Workload:
    before, after = workload.to_dict(), at_twice.to_dict()
    changed = {name for name in before if before[name] != after[name]}
    if isinstance(workload, MatMul) and not workload.weights:
        changed -= {"k", "n"}  # keys
    if isinstance(workload, Elementwise) and "h" in changed:
        changed -= {"w"}  # scores: queries by keys
    smaller: dict[str, Any] = {}
    for name in changed:
        if before[name] % tokens or after[name] != 2 * before[name]:
            raise UsageError(
                f"{workload.label} of {name} {before[name]} has {after[name]} of twice as many "
                "tokens; a step of decoding cannot be told from it"
            )
        smaller[name] = before[name] // tokens
    return dataclasses.replace(workload, **smaller)
