"""The baseline every pruning method has to beat: every group thinned by the same share."""

from __future__ import annotations

from torch import Tensor, nn

from latprof.compress._cost import Cost
from latprof.compress._graph import Graph

__all__ = ["largest", "uniform_counts"]


def uniform_counts(graph: Graph, cost: Cost, budget_s: float) -> list[int]:
    """Counts (G,) at the largest common share of the widths that is predicted within the budget."""
    low, high = 0.0, 1.0
    for _ in range(20):
        share = (low + high) / 2
        if cost.exact(_thinned(graph, share)) <= budget_s:
            low = share
        else:
            high = share
    return _thinned(graph, low)


def _thinned(graph: Graph, share: float) -> list[int]:
    counts = []
    for g in graph.groups:
        thinned = round(share * g.size / g.divisor) * g.divisor
        counts.append(max(thinned, g.minimum) if g.prunable else g.size)
    return counts


def largest(model: nn.Module, graph: Graph, counts: list[int]) -> list[Tensor]:
    """Scales (size,) per group, 1 for the ``count`` channels whose readers' weights have the
    largest norm, else 0: what ``shrink`` takes."""
    parameters = dict(model.named_parameters())
    scales = []
    for group, count in zip(graph.groups, counts, strict=True):
        norm = graph.norms(parameters, group)  # (size,)
        scale = norm.new_zeros(group.size)
        scale[norm.argsort(descending=True)[:count]] = 1.0
        scales.append(scale)
    return scales
