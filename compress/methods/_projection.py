"""Which units stay: masks projected onto what the budgets allow by now."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from latprof.compress.cost import Goals
from latprof.compress.masks import UnitMasks, Weights
from latprof.compress.methods._select import Floats, candidates, kept_importance, n_of_m, select
from latprof.compress.space import Space

__all__ = ["Projection"]

_log = logging.getLogger("latprof")

#: What the scale of a removed unit is taken for when it is judged, and where it restarts.
_REVIVED = 0.5
#: The same of a residual block: a network that does with a tenth of one does without, nearly.
_REVIVED_BLOCK = 0.1
#: How many candidates a group may fall at once.
_STRIDES = (1, 2)
#: Of ranks: near the full one two layers cost more than one.
_RANK_STRIDES = (1, 2, 4, 8, 16)
#: Of single weights: until many are zero, a bitmap takes more than the zeros save.
_SPARSE_STRIDES = (*_RANK_STRIDES, 24)


class Projection:
    """Zeroes the masks of the least important units until the true counts cost what they may. A
    residual block's mask becomes 1 where it is kept, once the budget itself is due.

    A zero mask is judged as if it stood at half its start, a block's at a tenth: it comes back
    where that is more important than what it displaces.
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
        self.silent = False
        self._named: set[str] = set()
        for option in space.ranks:
            self._strides[option.group.index] = _RANK_STRIDES
        for option in space.sparse:
            self._strides[option.group.index] = _SPARSE_STRIDES
            if option.n_of_m:
                self._candidates[option.group.index] = [option.group.minimum]

    def weighed(self, masks: UnitMasks, per_scale: Sequence[Tensor]) -> list[Tensor]:
        """Per group, figures (size,) of units at scale 1, times each unit's squared scale, or that
        at which it would return."""
        scales = masks.split(masks.alpha / masks.start)
        judged = zip(scales, per_scale, self._revived, strict=True)
        return [each * scale.abs().clamp_min(least).square() for scale, each, least in judged]

    def __call__(
        self,
        masks: UnitMasks,
        importances: Sequence[Tensor],
        progress: float,
        margin: float,
        *,
        revived: float | None = None,
    ) -> None:
        """Change the masks in place.

        Args:
            masks: of all groups.
            importances: per group, of each unit, (size,).
            progress: share of the way from the original to the budgets that is due.
            margin: multiplies the targets.
            revived: share of its start at which a zero returns; by default half, a block's a tenth.
        """
        alphas, starts = masks.split(masks.alpha), masks.split(masks.start)
        counts = self._counts(importances, progress, margin)
        channels = alphas[: len(self.space.graph.groups)]
        parts = zip(alphas, starts, importances, counts, strict=True)
        for index, (alpha, start, importance, count) in enumerate(parts):
            if option := self._sparse.get(index):  # channels come first, and have been chosen
                alive = self.weights.alive(option, [a != 0 for a in channels]).to(importance.device)
                tiles = self.weights.tiles_of(option)
                scale, importance = tiles.lay(alive, alpha / start, importance)
                if tiles.is_tiled:
                    alpha.copy_(start * scale)
                count = min(count, int((importance >= 0).sum()))
            if option and option.n_of_m:
                n, m = option.n_of_m
                layer = option.layer
                whole = layer.ordered(importance.view(layer.shape))
                left = n_of_m(whole, m - round((m - n) * progress), m).view(whole.shape)
                chosen = layer.restored(left).flatten().nonzero().squeeze(1)
            elif index in self._nested:
                chosen = torch.arange(count, device=importance.device)
            else:
                chosen = importance.argsort(descending=True)[:count]
            share = self._revived[index] if revived is None else revived
            kept = torch.where(alpha != 0, alpha, share * start)[chosen]
            if share == 1:  # masks are 0 or their start, and of new tiles may lie between
                kept = start[chosen]
            if index in self._gates and progress >= 1:  # in time for the rest to get used to it
                kept = start[chosen]
            alpha.zero_()
            alpha[chosen] = kept

    def warn(self, counts: Sequence[int]) -> None:
        """Name, once each, the channel groups that only their minimum keeps from vanishing; not
        while ``silent``, nor on the way to the lowest, which asks for it."""
        if self.silent or any(goal.budget.is_lowest for goal in self.goals.each):
            return
        bare = {g.name: f"{g.name} ({g.minimum} of {g.size})" for g in self.space.bare(counts)}
        if new := bare.keys() - self._named:
            _log.warning(
                "down to the least that keeps the network whole: %s; a larger budget, or exclude= "
                "of Prune, keeps more", ", ".join(text for g, text in bare.items() if g in new),
            )  # fmt: skip
        self._named |= new

    def harden(self, masks: UnitMasks) -> None:
        """Bit widths are chosen or not; between two of them a weight is on no grid."""
        alphas, starts = masks.split(masks.alpha), masks.split(masks.start)
        for index in self._nested:
            alphas[index].copy_(torch.where(alphas[index] > 0, starts[index], alphas[index]))

    def _counts(self, importances: Sequence[Tensor], progress: float, margin: float) -> list[int]:
        kept = [
            kept_importance(i.double().cpu().numpy(), ordered=index in self._nested)
            for index, i in enumerate(importances)
        ]

        def ratio(rows: Floats) -> Floats:
            counts = torch.as_tensor(rows, dtype=torch.float32)
            return np.asarray(self.goals.ratio(counts, progress, margin).cpu())

        return select(kept, self._candidates, ratio, 1.0, self._strides)
