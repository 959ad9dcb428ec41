"""Which units stay: masks projected onto what the budgets allow by now."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from latprof.compress.cost import Goals
from latprof.compress.masks import Weights
from latprof.compress.methods._select import Floats, candidates, n_of_m, select, worth_of
from latprof.compress.space import Space

__all__ = ["Projection"]

_log = logging.getLogger("latprof")

#: What the scale of a removed unit is taken for when it is judged, and where it restarts.
_REVIVED = 0.5
#: The same of a residual block: a network that does with a tenth of one does without, nearly.
_REVIVED_BLOCK = 0.1
#: How many candidates a group may fall at once, and a rank: near the full one two layers cost more
#: than one.
_NEAR, _FAR = (1, 2), (1, 2, 4, 8, 16)


class Projection:
    """Zeroes the masks of the least important units until the true counts cost what they may. A
    residual block's mask becomes 1 where it is kept, once all of the way is behind.

    Importance is first-order Taylor, E[(scale * dL/dscale)^2] (Molchanov et al., 2019,
    arXiv:1906.10771). A zero mask is judged as if it stood at half its start, a block's at a tenth:
    it comes back where that is worth more than what it displaces.
    """

    def __init__(self, space: Space, goals: Goals, weights: Weights) -> None:
        self.space, self.goals, self.weights = space, goals, weights
        self._candidates = [candidates(g) for g in space.groups]
        self._leaps: list[tuple[int, ...]] = [_NEAR] * len(space.groups)
        self._sparse = {o.group.index: o for o in space.sparse}
        self._nested = {o.group.index for o in space.bits}
        self._gates = {r.group.index for r in space.residuals}
        self._revived = [
            _REVIVED_BLOCK if index in self._gates else _REVIVED
            for index in range(len(space.groups))
        ]
        self._named: set[str] = set()
        for option in space.ranks:
            self._leaps[option.group.index] = _FAR
        for option in space.sparse:
            if option.n_of_m:
                self._candidates[option.group.index] = [option.group.minimum]

    def __call__(
        self, alpha: Tensor, start: Tensor, importance: Tensor, way: float, slack: float
    ) -> None:
        """Change ``alpha`` in place.

        Args:
            alpha, start, importance: of all groups, end to end, (sum(sizes),).
            way: share of the way from the original to the budgets that must be behind.
            slack: multiplies what is wanted.
        """
        alphas, starts = self._split(alpha), self._split(start)
        judged = zip(
            self._split(alpha / start), self._split(importance), self._revived, strict=True
        )
        worth = [mine * scale.clamp_min(least).square() for scale, mine, least in judged]
        counts = self._counts(worth, way, slack)
        channels = alphas[: len(self.space.graph.groups)]
        parts = zip(alphas, starts, worth, counts, strict=True)
        for index, (part, first, mine, count) in enumerate(parts):
            if option := self._sparse.get(index):  # channels come first, and have been chosen
                alive = self.weights.alive(option, [a > 0 for a in channels]).to(mine.device)
                mine = mine.masked_fill(~alive, -1.0)
                count = min(count, int(alive.sum()))
            if option and option.n_of_m:
                n, m = option.n_of_m
                chosen = n_of_m(mine, m - round((m - n) * way), m).nonzero().squeeze(1)
            elif index in self._nested:
                chosen = torch.arange(count, device=mine.device)
            else:
                chosen = mine.argsort(descending=True)[:count]
            kept = torch.where(part > 0, part, self._revived[index] * first)[chosen]
            if index in self._gates and way >= 1:  # in time for the rest to get used to it
                kept = first[chosen]
            part.zero_()
            part[chosen] = kept

    def warn(self, counts: Sequence[int]) -> None:
        """Name, once each, the channel groups that only their minimum keeps from vanishing."""
        bare = {g.name: f"{g.name} ({g.minimum} of {g.size})" for g in self.space.bare(counts)}
        if new := bare.keys() - self._named:
            _log.warning(
                "down to the least that keeps the network whole: %s; a larger budget, or exclude= "
                "of Prune, keeps more", ", ".join(text for g, text in bare.items() if g in new),
            )  # fmt: skip
        self._named |= new

    def harden(self, alpha: Tensor, start: Tensor) -> None:
        """Bit widths are chosen or not; between two of them a weight is on no grid."""
        alphas, starts = self._split(alpha), self._split(start)
        for index in self._nested:
            alphas[index].copy_(torch.where(alphas[index] > 0, starts[index], alphas[index]))

    def _counts(self, worth: list[Tensor], way: float, slack: float) -> list[int]:
        values = [
            worth_of(w.double().cpu().numpy(), ordered=index in self._nested)
            for index, w in enumerate(worth)
        ]

        def load(rows: Floats) -> Floats:
            counts = torch.as_tensor(rows, dtype=torch.float32)
            return np.asarray(self.goals.load(counts, way, slack).cpu())

        return select(values, self._candidates, load, 1.0, self._leaps)

    def _split(self, flat: Tensor) -> list[Tensor]:
        """Views of one flat tensor, per group."""
        return list(torch.split(flat, self.space.sizes))
