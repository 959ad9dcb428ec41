"""One mask per unit that may go."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor, nn

from latprof.compress.masks._processes import broadcast
from latprof.compress.space import COUNTS, Block, Depth, Space, soft_counts

__all__ = ["MaskRules", "UnitMasks"]

#: Masks that start in proportion to their importance start within these shares of their mean.
_LEAST_START, _MOST_START = 0.2, 2.0


@dataclass(frozen=True)
class MaskRules:
    """What masks may do. Those of bit widths and of residual blocks stay in [0, start] always.

    Args:
        grow: they may exceed where they started.
        zeros_return: gradients may bring a zero back.
        signed: they may fall below 0.
        in_forward: a unit is multiplied by its mask itself, wherever it starts, and not by its
            share of the start.
        init: where they start, for all blocks but Depth; each block's own where it is empty.
        count: how they are counted, for all blocks but Depth; each block's own where it is empty.
    """

    grow: bool = False
    zeros_return: bool = False
    signed: bool = False
    in_forward: bool = False
    init: str = ""
    count: str = ""


_RULES = MaskRules()
_NO_SPECTRA: Mapping[int, Tensor] = MappingProxyType({})


class UnitMasks(nn.Module):
    """The masks of all groups of a space, end to end, (N,) where N is the sum of the sizes.

    A unit is multiplied by its mask over where that mask started, so that the network computes
    what it did when training begins; 0 is a removed unit. By default masks stay in [0, start].

    Args:
        space: groups of units.
        blocks: per group of the space, the block that it comes from.
        rules: what masks may do.

    Attributes:
        alpha: the masks, (N,).
        start: where each started, (N,).
        last: the masks before the user's optimizer moved them, (N,).
    """

    start: Tensor
    last: Tensor
    sizes: Tensor
    minima: Tensor
    segment: Tensor
    free: Tensor
    kinds: Tensor
    bounded: Tensor

    def __init__(self, space: Space, blocks: Sequence[Block], rules: MaskRules = _RULES) -> None:
        super().__init__()
        self.rules = rules
        sizes = space.sizes
        total = sum(sizes)
        kinds = [COUNTS.index(_ruled(b, rules.count) or b.count) for b in blocks]
        self._sizes = sizes
        self._one_kind = COUNTS[kinds[0]] if len(set(kinds)) == 1 else None
        self._starts = [_ruled(b, rules.init) or b.init for b in blocks]
        self._nested = [option.group.index for option in space.bits]
        self.alpha = nn.Parameter(torch.ones(total))
        self.register_buffer("start", torch.ones(total))
        self.register_buffer("last", torch.ones(total))

        segment = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
        prunable = torch.tensor([g.prunable for g in space.groups])
        of_space = {
            "sizes": torch.tensor(sizes, dtype=torch.float32),  # (G,)
            "minima": torch.tensor([g.minimum for g in space.groups], dtype=torch.float32),  # (G,)
            "segment": segment,  # (N,) group of each mask
            "free": prunable[segment],  # (N,) whether it may fall
            "kinds": torch.tensor(kinds),  # (G,) how the group is counted, as COUNTS has it
        }
        for index in self._nested:  # of nested bit widths the least always stays
            of_space["free"][sum(sizes[:index])] = False
        always = {*self._nested, *(r.group.index for r in space.residuals)}
        bounded = torch.tensor([index in always for index in range(len(sizes))])
        of_space["bounded"] = bounded[segment]  # (N,) whether it stays in [0, start] by all rules
        for name, value in of_space.items():
            self.register_buffer(name, value, persistent=False)

    def split(self, flat: Tensor) -> list[Tensor]:
        """Views of a tensor (N,), per group (size,)."""
        return list(torch.split(flat, self._sizes))

    def scales(self) -> list[Tensor]:
        """Per group, what multiplies each unit where it is read, (size,); 0 is removed."""
        return self.split(self.alpha / self.start)

    def counts(self) -> list[int]:
        """Units left, per group, (G,)."""
        kept = (self.alpha.detach() != 0).to(self.sizes)  # (N,)
        each = torch.zeros_like(self.sizes).index_add(0, self.segment, kept)  # (G,)
        return [int(count) for count in each.tolist()]  # one wait for the device, not one a group

    def true_counts(self) -> Tensor:
        """The same as a tensor on the CPU, where costs are, (G,)."""
        return torch.tensor(self.counts(), dtype=torch.float32)

    def soft_counts(self, alpha: Tensor, kind: str | None = None) -> Tensor:
        """Differentiable counts (G,) of masks (N,), of one of COUNTS; by default each group's."""
        alpha = alpha.abs() if self.rules.signed else alpha
        return soft_counts(alpha, self.segment, self.sizes, kind or self._one_kind or self.kinds)

    def restore(self) -> None:
        """Undo what the user's optimizer did to the masks: they take steps of their own."""
        self.alpha.copy_(self.last)

    def commit(self) -> None:
        """Masks as they are now are what ``restore`` brings back."""
        self.last.copy_(self.alpha)

    def harden(self) -> None:
        """Put every mask that is not 0 back to its start, where it multiplies by 1."""
        self.alpha.copy_(torch.where(self.alpha != 0, self.start, 0.0))
        self.commit()

    def begin(self, importance: Tensor, spectra: Mapping[int, Tensor] = _NO_SPECTRA) -> None:
        """Put every mask where its block says; the function stays the same, but for masks that
        are ``in_forward``.

        Args:
            importance: of each unit, (N,).
            spectra: {group: singular values of a factored layer, (size,)}.
        """
        weight = importance.sqrt()
        mean = torch.zeros_like(self.sizes).index_add(0, self.segment, weight) / self.sizes
        relative = weight / mean.clamp_min(1e-30)[self.segment]
        parts = zip(
            self._starts,
            self.split(self.start),
            self.split(relative.clamp(_LEAST_START, _MOST_START)),
            strict=True,
        )
        for index, (how, start, of_importance) in enumerate(parts):
            if how == "uniform":
                start.uniform_(0, 0.5).clamp_min_(1e-3)
            elif how == "importance":
                start.copy_(of_importance)
            elif how == "svd":
                values = spectra[index]
                start.copy_(values / values.mean().clamp_min(1e-30)).clamp_min_(1e-3)
        self.start.masked_fill_(~self.free, 1.0)
        broadcast(self.start)
        self.alpha.copy_(self.start)
        if self.rules.in_forward:
            self.start.masked_fill_(~self.bounded, 1.0)

    def project(self, moved: Tensor) -> None:
        """Take these masks (N,), as far as they are allowed.

        By default they stay in [0, start]; a zero stays zero, so that the network learns to do
        without the unit; and a group that would fall below its minimum stays as it was.
        """
        rules, within = self.rules, moved.clamp_min(0).minimum(self.start)
        if rules.grow or rules.signed:
            open_ended = moved if rules.signed else moved.clamp_min(0)
            if not rules.grow:
                open_ended = open_ended.minimum(self.start)
            within = torch.where(self.bounded, within, open_ended)
        may_move = self.free if rules.zeros_return else self.free & (self.alpha != 0)
        moved = torch.where(may_move, within, self.alpha)
        left = torch.zeros_like(self.sizes).index_add(0, self.segment, (moved != 0).to(self.sizes))
        moved = torch.where((left < self.minima)[self.segment], self.alpha, moved)
        for index in self._nested:  # a bit width above one that is gone is gone
            widths = self.split(moved)[index]
            widths.mul_((widths > 0).cumprod(0))
        self.alpha.copy_(moved)


def _ruled(block: Block, rule: str) -> str:
    """What a rule says of a block's masks; nothing of one mask alone, which has no other way."""
    return "" if isinstance(block, Depth) else rule
