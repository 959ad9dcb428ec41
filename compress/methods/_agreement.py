"""Whether one choice after the other comes out the same."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["Agreement"]

#: Choices in a row that must agree, and on which share of the units that either keeps.
_IN_A_ROW, _SHARE = 3, 0.99


class Agreement(nn.Module):
    """Follows a series of choices, as You et al., 2020 (arXiv:1909.11957) do of early tickets.

    Args:
        total: units, N.
    """

    kept: Tensor
    agreed: Tensor

    def __init__(self, total: int) -> None:
        super().__init__()
        self.register_buffer("kept", torch.zeros(total, dtype=torch.bool))
        self.register_buffer("agreed", torch.zeros((), dtype=torch.int64))

    def see(self, kept: Tensor) -> bool:
        """Take the next choice, (N,) bool; returns whether enough of them agree by now."""
        both, either = (kept & self.kept).sum(), (kept | self.kept).sum()
        same = bool(both >= _SHARE * either)
        self.agreed.copy_(self.agreed + 1 if same else torch.ones_like(self.agreed))
        self.kept.copy_(kept)
        return int(self.agreed) >= _IN_A_ROW
