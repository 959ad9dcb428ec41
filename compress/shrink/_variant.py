"""Random-width variants of a model, measured whole to calibrate how its ops add up."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import torch
from torch import nn

from latprof.compress.graph import Graph
from latprof.compress.shrink._shrink import shrink

__all__ = ["variant"]


def variant(
    model: nn.Module, graph: Graph, rng: np.random.Generator, dropped: Collection[str] = ()
) -> nn.Module:
    """The model at ``graph.random_counts(rng)``, its removed units drawn at random, without the
    residual blocks in ``dropped``."""
    keeps = []
    for size, count in zip(graph.sizes, graph.random_counts(rng), strict=True):
        keep = torch.zeros(size)
        keep[torch.from_numpy(rng.permutation(size)[:count])] = 1.0
        keeps.append(keep)
    return shrink(model, graph, keeps, dropped=dropped)
