"""Memory that a network takes while it runs, as a function of its unit counts."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from latprof.compress.cost._weights import WeightsCost
from latprof.compress.space import Space
from latprof.errors import UsageError

__all__ = ["MemoryCost"]


class MemoryCost(WeightsCost):
    """Bytes of all weights, and of the activations that are held while one op runs, at the op where
    these are most.

    Weights that are zero, or of few bits in the file, are whole in memory. The two layers of a
    factored one hold no more between them than the layer does around it. A measured network
    corrects it: runtimes pack weights anew, and lay out activations in arenas.

    Raises:
        UsageError: the graph does not tell what is held.
    """

    unit = "bytes"
    each: Tensor
    per_unit: Tensor
    always: Tensor
    step_holder: Tensor

    def __init__(self, space: Space) -> None:
        super().__init__(space)
        steps = space.graph.memory
        if not steps:
            raise UsageError("a budget of memory needs a traced network with at least one op")
        sizes = [space.graph.element_bytes.get(name, 4) for name in self.names]
        self._keep("each", torch.tensor(sizes, dtype=torch.float32))  # (T,) bytes of a value
        per_unit = np.zeros((len(steps), len(space.groups)))
        for row, step in enumerate(steps):
            for group, each in step.per_unit.items():
                per_unit[row, group] = each
        self._keep("per_unit", torch.as_tensor(per_unit, dtype=torch.float32))  # (S, G)
        always = [step.offset for step in steps]
        self._keep("always", torch.tensor(always, dtype=torch.float32))  # (S,)
        holders = [space.holder(step.module) for step in steps]
        no_block = len(space.groups)
        rows = [no_block if h is None else h for h in holders]
        self._keep("step_holder", torch.tensor(rows, dtype=torch.int64))  # (S,)

    def _keep(self, name: str, tensor: Tensor) -> None:
        self.register_buffer(name, tensor, persistent=False)

    def activations(self, counts: Tensor) -> Tensor:
        """Activations (..., S) in bytes while each op runs; 0 in a residual block that is gone."""
        bytes_held: Tensor = torch.tensordot(counts, self.per_unit, ([-1], [1])) + self.always
        if not self.space.residuals:
            return bytes_held
        left = torch.nn.functional.pad(counts, (0, 1), value=1.0)[..., self.step_holder]
        return bytes_held * left

    def parts(self, counts: Tensor) -> tuple[Tensor, Tensor]:
        dims, numel, _ = self.sizes(counts)
        weights = self._left(self.each * numel, counts).sum(-1)
        saved = self.pairs_saved(dims, counts, self.each[self.places])
        return weights + self.activations(counts).amax(-1), self._left(saved, counts, self.places)
