"""The baseline every pruning method has to beat: every group thinned by the same share."""

from __future__ import annotations

from torch import Tensor, nn

from latprof.compress.cost._cost import Cost
from latprof.compress.graph import Graph
from latprof.compress.space import Space

__all__ = ["largest", "thinned", "uniform_counts"]


def uniform_counts(space: Space, cost: Cost, budget: float) -> list[int]:
    """Counts (G,) at the largest common share of the widths that is predicted within the budget;
    ranks, single weights and blocks stay."""
    low, high = 0.0, 1.0
    for _ in range(20):
        share = (low + high) / 2
        if cost.exact(thinned(space, share)) <= budget:
            low = share
        else:
            high = share
    return thinned(space, low)


def thinned(space: Space, share: float) -> list[int]:
    """Counts (G,) at this share of every width."""
    counts = []
    for g in space.graph.groups:
        left = round(share * g.size / g.divisor) * g.divisor
        counts.append(max(left, g.minimum) if g.prunable else g.size)
    return [*counts, *space.sizes[len(counts) :]]


def largest(model: nn.Module, graph: Graph, counts: list[int]) -> list[Tensor]:
    """Scales (size,) per group, 1 for the ``count`` channels whose readers' weights have the
    largest norm, else 0: what ``shrink`` takes."""
    parameters = dict(model.named_parameters())
    scales = []
    for group, count in zip(graph.groups, counts[: len(graph.groups)], strict=True):
        norm = graph.norms(parameters, group)  # (size,)
        scale = norm.new_zeros(group.size)
        scale[norm.argsort(descending=True)[:count]] = 1.0
        scales.append(scale)
    return scales
