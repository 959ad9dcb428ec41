"""Which units stay: masks projected onto what the budgets allow by now."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from latprof.compress.cost import Goals
from latprof.compress.masks import Masks, Weights
from latprof.compress.methods._select import Floats, candidates, kept_importance, n_of_m, select
from latprof.compress.space import Space

__all__ = ["Projection"]

_log = logging.getLogger("latprof")

#: What the scale of a removed unit is taken for when it is judged, and where it restarts.
_REVIVED = 0.5
#: The same of a residual block: a network that does with a tenth of one does without, nearly.
_REVIVED_BLOCK = 0.1
#: How many candidates a group may fall at once, and a rank: near the full one two layers cost more
#: than one.
_STRIDES, _RANK_STRIDES = (1, 2), (1, 2, 4, 8, 16)


class Projection:
    """Zeroes the masks of the least important units until the true counts cost what they may. A
    residual block's mask becomes 1 where it is kept, once the budget itself is due.

    Importance is first-order Taylor, E[(scale * dL/dscale)^2] (Molchanov et al., 2019,
    arXiv:1906.10771). A zero mask is judged as if it stood at half its start, a block's at a tenth:
    it comes back where that is more important than what it displaces.
    """

    def __init__(self, space: Space, goals: Goals, weights: Weights) -> None:
        self.space, self.goals, self.weights = space, goals, weights
        self._candidates = [candidates(g) for g in space.groups]
        self._strides: list[tuple[int, ...]] = [_STRIDES] * len(space.groups)
        self._sparse = {o.group.index: o for o in space.sparse}
        self._nested = {o.group.index for o in space.bits}
        self._gates = {r.group.index for r in space.residuals}
        self._revived = [
            _REVIVED_BLOCK if index in self._gates else _REVIVED
            for index in range(len(space.groups))
        ]
        self._named: set[str] = set()
        for option in space.ranks:
            self._strides[option.group.index] = _RANK_STRIDES
        for option in space.sparse:
            if option.n_of_m:
                self._candidates[option.group.index] = [option.group.minimum]

    def __call__(self, masks: Masks, gradient: Tensor, progress: float, margin: float) -> None:
        """Change the masks in place.

        Args:
            masks: of all groups.
            gradient: running mean of (dL/dscale)^2 of each unit, (N,).
            progress: share of the way from the original to the budgets that is due.
            margin: multiplies the targets.
        """
        alphas, starts = masks.split(masks.alpha), masks.split(masks.start)
        judged = zip(
            masks.split(masks.alpha / masks.start),
            masks.split(gradient),
            self._revived,
            strict=True,
        )
        importances = [grad * scale.clamp_min(least).square() for scale, grad, least in judged]
        counts = self._counts(importances, progress, margin)
        channels = alphas[: len(self.space.graph.groups)]
        parts = zip(alphas, starts, importances, counts, strict=True)
        for index, (alpha, start, importance, count) in enumerate(parts):
            if option := self._sparse.get(index):  # channels come first, and have been chosen
                alive = self.weights.alive(option, [a > 0 for a in channels]).to(importance.device)
                importance = importance.masked_fill(~alive, -1.0)
                count = min(count, int(alive.sum()))
            if option and option.n_of_m:
                n, m = option.n_of_m
                chosen = n_of_m(importance, m - round((m - n) * progress), m).nonzero().squeeze(1)
            elif index in self._nested:
                chosen = torch.arange(count, device=importance.device)
            else:
                chosen = importance.argsort(descending=True)[:count]
            kept = torch.where(alpha > 0, alpha, self._revived[index] * start)[chosen]
            if index in self._gates and progress >= 1:  # in time for the rest to get used to it
                kept = start[chosen]
            alpha.zero_()
            alpha[chosen] = kept

    def warn(self, counts: Sequence[int]) -> None:
        """Name, once each, the channel groups that only their minimum keeps from vanishing."""
        bare = {g.name: f"{g.name} ({g.minimum} of {g.size})" for g in self.space.bare(counts)}
        if new := bare.keys() - self._named:
            _log.warning(
                "down to the least that keeps the network whole: %s; a larger budget, or exclude= "
                "of Prune, keeps more", ", ".join(text for g, text in bare.items() if g in new),
            )  # fmt: skip
        self._named |= new

    def harden(self, masks: Masks) -> None:
        """Bit widths are chosen or not; between two of them a weight is on no grid."""
        alphas, starts = masks.split(masks.alpha), masks.split(masks.start)
        for index in self._nested:
            alphas[index].copy_(torch.where(alphas[index] > 0, starts[index], alphas[index]))

    def _counts(self, importances: list[Tensor], progress: float, margin: float) -> list[int]:
        kept = [
            kept_importance(i.double().cpu().numpy(), ordered=index in self._nested)
            for index, i in enumerate(importances)
        ]

        def ratio(rows: Floats) -> Floats:
            counts = torch.as_tensor(rows, dtype=torch.float32)
            return np.asarray(self.goals.ratio(counts, progress, margin).cpu())

        return select(kept, self._candidates, ratio, 1.0, self._strides)
