"""Ops of a network that are in no figure, and the budgets that cannot be kept because of them."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

from latprof.compress.cost._budget import Budget
from latprof.compress.cost._latency import Latency
from latprof.compress.graph import Graph
from latprof.errors import UsageError

__all__ = ["check_counted"]

_log = logging.getLogger("latprof")


def check_counted(
    graph: Graph, budgets: Sequence[Budget], latencies: Mapping[str, Latency]
) -> None:
    """Name the ops that are in no predicted latency.

    Raises:
        UsageError: a budget of MACs, or of a latency that nothing measures, of a network with ops
            whose arithmetic cannot be told: it would be met on paper only.
    """
    for budget in budgets:
        latency = latencies.get(budget.kind)
        predicted = latency is not None and latency.measure is None
        if graph.opaque and (budget.kind == "macs" or predicted):
            opaque = ", ".join(sorted(graph.opaque))
            raise UsageError(
                f"budget {budget.text} cannot be kept: what {opaque} of {graph.name} computes is "
                "in no figure; expected a budget of params or bytes, or a latency that is "
                "measured: Latency(surrogate, measure=...)"
            )
    if graph.unmeasured and latencies:
        _log.warning("%s: %s", graph.name, graph.uncounted)
