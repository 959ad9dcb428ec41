"""Parameters of a network as a function of its unit counts."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from latprof.compress.cost._cost import Cost
from latprof.compress.space import Space

__all__ = ["WeightsCost"]


class WeightsCost(Cost):
    """Parameters that are not zero.

    Units of a sparse weight are taken to lie in channels that are kept.

    Attributes:
        names: of the parameters, (T,).
    """

    unit = "parameters"
    mixing: Tensor
    offset: Tensor
    held: Tensor
    rank: Tensor
    places: Tensor
    coded: Tensor
    levels: Tensor

    def __init__(self, space: Space) -> None:
        graph = space.graph
        self.names = [n for n in graph.shapes if n not in graph.buffers]
        super().__init__(space, self.names)
        row = {name: t for t, name in enumerate(self.names)}
        dims = max((len(graph.shapes[n]) for n in self.names), default=1)
        mixing = np.zeros((len(self.names), dims, len(space.groups)))
        offset = np.ones((len(self.names), dims))
        for name, t in row.items():
            offset[t, : len(graph.shapes[name])] = graph.shapes[name]
        for g in graph.prunable:
            for part in (*g.readers, *g.writers):
                if part.name in row:
                    each = int((part.index >= 0).sum()) // g.size
                    mixing[row[part.name], part.dim, g.index] += each
                    offset[row[part.name], part.dim] -= each * g.size
        held = np.zeros((len(self.names), len(space.groups)))
        for option in space.sparse:
            held[row[option.layer.weight], option.group.index] = option.weights_per_unit
        self.register_buffer("mixing", torch.as_tensor(mixing, dtype=torch.float32))  # (T, D, G)
        self.register_buffer("offset", torch.as_tensor(offset, dtype=torch.float32))  # (T, D)
        self.register_buffer("held", torch.as_tensor(held, dtype=torch.float32))  # (T, G)
        coded = [row[o.layer.weight] for o in space.bits]
        levels = [o.group.index for o in space.bits]
        self.register_buffer("coded", torch.tensor(coded, dtype=torch.int64))
        self.register_buffer("levels", torch.tensor(levels, dtype=torch.int64))
        ranks = [o.group.index for o in space.ranks]
        places = [row[o.layer.weight] for o in space.ranks]
        self.register_buffer("rank", torch.tensor(ranks, dtype=torch.int64))
        self.register_buffer("places", torch.tensor(places, dtype=torch.int64))

    def sizes(self, counts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Of each parameter: its dims (..., T, D), its values (..., T), its non-zeros (..., T)."""
        dims = torch.tensordot(counts, self.mixing, ([-1], [2])) + self.offset
        numel = dims.prod(-1)
        held = torch.tensordot(counts, self.held, ([-1], [1]))
        return dims, numel, torch.where((self.held != 0).any(-1), held.minimum(numel), numel)

    def pairs_saved(self, dims: Tensor, counts: Tensor, scale: Tensor) -> Tensor:
        """(..., F) what factoring each layer of ``space.ranks`` saves, ``scale`` per parameter."""
        outer = dims[..., self.places, 0]
        inner = dims[..., self.places, 1:].prod(-1)
        return scale * (outer * inner - counts[..., self.rank] * (outer + inner))

    def parts(self, counts: Tensor) -> tuple[Tensor, Tensor]:
        dims, _, left = self.sizes(counts)
        saved = self.pairs_saved(dims, counts, torch.ones_like(self.rank, dtype=counts.dtype))
        return self._left(left, counts).sum(-1), self._left(saved, counts, self.places)
