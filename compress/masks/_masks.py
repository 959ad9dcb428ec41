"""One mask per unit that may go."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from latprof.compress.masks._processes import broadcast
from latprof.compress.space import COUNTS, Block, Space, soft_counts

__all__ = ["Masks"]

#: Masks that start in proportion to their importance start within these shares of their mean.
_LEAST_START, _MOST_START = 0.2, 2.0


class Masks(nn.Module):
    """The masks of all groups of a space, end to end, (N,) where N is the sum of the sizes.

    A unit is multiplied by its mask over where that mask started, so that the network computes
    what it did when training begins; 0 is a removed unit. Masks stay in [0, start].

    Args:
        space: groups of units.
        blocks: per group of the space, the block that it comes from.

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

    def __init__(self, space: Space, blocks: Sequence[Block]) -> None:
        super().__init__()
        sizes = space.sizes
        total = sum(sizes)
        kinds = [COUNTS.index(block.count) for block in blocks]
        self._sizes = sizes
        self._one_kind = COUNTS[kinds[0]] if len(set(kinds)) == 1 else None
        self._starts = [block.init for block in blocks]
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
        return [int((part > 0).sum()) for part in self.split(self.alpha.detach())]

    def true_counts(self) -> Tensor:
        """The same as a tensor on the CPU, where costs are, (G,)."""
        return torch.tensor(self.counts(), dtype=torch.float32)

    def soft_counts(self, alpha: Tensor, kind: str | None = None) -> Tensor:
        """Differentiable counts (G,) of masks (N,), of one of COUNTS; by default each group's."""
        return soft_counts(alpha, self.segment, self.sizes, kind or self._one_kind or self.kinds)

    def restore(self) -> None:
        """Undo what the user's optimizer did to the masks: they take steps of their own."""
        self.alpha.copy_(self.last)

    def commit(self) -> None:
        """Masks as they are now are what ``restore`` brings back."""
        self.last.copy_(self.alpha)

    def harden(self) -> None:
        """Put every mask that is not 0 back to its start, where it multiplies by 1."""
        self.alpha.copy_(torch.where(self.alpha > 0, self.start, 0.0))
        self.commit()

    def begin(self, importance: Tensor) -> None:
        """Put every mask where its block says; the function stays the same.

        Args:
            importance: of each unit, (N,).
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
        for how, start, of_importance in parts:
            if how == "uniform":
                start.uniform_(0, 0.5).clamp_min_(1e-3)
            elif how == "importance":
                start.copy_(of_importance)
        self.start.masked_fill_(~self.free, 1.0)
        broadcast(self.start)
        self.alpha.copy_(self.start)

    def project(self, moved: Tensor) -> None:
        """Take these masks (N,), as far as they are allowed.

        They stay in [0, start]; a zero stays zero, so that the network learns to do without the
        unit; and a group that would fall below its minimum stays as it was.
        """
        moved = moved.clamp_min(0).minimum(self.start)
        moved = torch.where(self.free & (self.alpha > 0), moved, self.alpha)
        left = torch.zeros_like(self.sizes).index_add(0, self.segment, (moved > 0).to(self.sizes))
        moved = torch.where((left < self.minima)[self.segment], self.alpha, moved)
        for index in self._nested:  # a bit width above one that is gone is gone
            widths = self.split(moved)[index]
            widths.mul_((widths > 0).cumprod(0))
        self.alpha.copy_(moved)
