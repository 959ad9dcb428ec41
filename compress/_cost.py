"""A traced model's latency as a function of its group counts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from latprof.compress._budget import Reach
from latprof.compress._graph import Graph

if TYPE_CHECKING:
    from latprof.surrogate import Surrogate

__all__ = ["Cost"]


class Cost(nn.Module):
    """counts (..., G) to seconds (...), differentiable: every op of the network in one look-up.

    ``correction`` multiplies the surrogate; it is learnt when a shrunk network is measured.
    """

    mixing: Tensor
    offset: Tensor
    correction: Tensor

    def __init__(self, graph: Graph, surrogate: Surrogate) -> None:
        super().__init__()
        self.graph, self.surrogate = graph, surrogate
        mixing, offset = graph.channel_map()
        self.register_buffer("mixing", torch.as_tensor(mixing, dtype=torch.float32))  # (N, 2, G)
        self.register_buffer("offset", torch.as_tensor(offset, dtype=torch.float32))  # (N, 2)
        self.register_buffer("correction", torch.ones(()))
        self.ops: Any = surrogate.torch_module(graph.workloads())

    def forward(self, counts: Tensor) -> Tensor:
        with torch.autocast(counts.device.type, enabled=False):  # 8 bits do not count channels
            channels = torch.tensordot(counts, self.mixing, ([-1], [2])) + self.offset
            seconds: Tensor = self.correction * (self.ops(channels).sum(-1) + self.ops.constant_s)
        return seconds

    def exact(self, counts: Sequence[int]) -> float:
        """Seconds at whole counts, steps and all, where ``forward`` is smooth between them."""
        predicted = self.surrogate.predict_model(self.graph.workloads(counts))
        return float(predicted.latency_s) * float(self.correction)

    def reach(self) -> Reach:
        """The latencies that pruning can reach."""
        groups = self.graph.groups
        least = [g.minimum if g.prunable else g.size for g in groups]
        return Reach(self.exact(least), self.exact(self.graph.sizes))
