"""The network that a selection leaves."""

from __future__ import annotations

import torch
from torch import nn

from latprof.compress.cost import Goals
from latprof.compress.masks import Weights
from latprof.compress.methods._method import Selection
from latprof.compress.shrink import shrink

__all__ = ["shrunk"]


def shrunk(model: nn.Module, weights: Weights, goals: Goals, selection: Selection) -> nn.Module:
    """A smaller copy of the model: without the units whose scale is 0, without the residual blocks
    that were dropped, and with two layers for each that costs less so."""
    space, counts = goals.space, selection.counts()
    scales = [s.detach() for s in selection.scales()]
    left = [(s != 0).float() for s in scales[: len(space.graph.groups)]]
    paying = goals.paying(counts)
    ranks = {o.layer.path: counts[o.group.index] for o in space.ranks if o.layer.path in paying}
    with torch.no_grad():
        values = weights(model, scales)
    dropped = space.dropped(counts)
    return shrink(model, space.graph, left, weights=values, ranks=ranks, dropped=dropped)
