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

#: Ops that may take most of a network's arithmetic, as torch names them.
_HEAVY = frozenset(
    (
        *("lstm", "gru", "rnn_tanh", "rnn_relu"),
        *("lstm_cell", "gru_cell", "rnn_tanh_cell", "rnn_relu_cell"),
        *("einsum", "tensordot", "bilinear", "_trilinear", "baddbmm", "addbmm", "_grouped_mm"),
        *("convolution", "conv1d", "conv2d", "conv3d"),
        *("conv_transpose1d", "conv_transpose2d", "conv_transpose3d"),
        *("mm", "bmm", "addmm", "matmul", "linear", "scaled_dot_product_attention"),
    )
)


def check_counted(
    graph: Graph, budgets: Sequence[Budget], latencies: Mapping[str, Latency]
) -> None:
    """Name the ops that are in no prediction, once.

    Raises:
        UsageError: a budget of MACs, or of a latency that nothing measures, of a network whose
            heavy ops are not counted: it would be met on paper only.
    """
    heavy = {name: n for name, n in graph.unmeasured.items() if name in _HEAVY}
    for budget in budgets:
        latency = latencies.get(budget.kind)
        untold = budget.kind == "macs" or (latency is not None and latency.measure is None)
        if heavy and untold:
            raise UsageError(
                f"budget {budget.text} cannot be kept: {_listed(heavy)} of {graph.name} are in no "
                "figure; expected a budget of params or bytes, or a latency that is measured: "
                "Latency(surrogate, measure=...)"
            )
    if graph.unmeasured and latencies:
        _log.warning("%s: in no predicted latency: %s", graph.name, _listed(graph.unmeasured))


def _listed(ops: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in ops.items())
