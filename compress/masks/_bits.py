"""One weight at several bit widths, nested (Nasery et al., appendix A)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from latprof.compress.masks._grids import nearest

__all__ = ["Bits"]

#: Shares of the weight's range that are tried as the first clip range of each bit width.
_SHARES = (1.0, 0.85, 0.7, 0.55, 0.4, 0.3, 0.2)
#: Of a larger weight, every so many values stand for all when shares are compared.
_MAX_COMPARED = 1 << 20


class Bits(nn.Module):
    """W_1 + beta_2 (W_2 - W_1 + beta_3 (W_3 - W_2 + ...)): W_j has ``widths[j]`` bits, and the last
    is the weight itself.

    Each width has a clip range: it begins where the weight's squared error is least, ``refit``
    finds it again, and once a width is the highest that is kept its range is learned. Grids are
    computed in float32 at least.

    Args:
        weight: of any shape.
        widths: ascending bit widths.
        grid: ``integer``, ``symmetric`` or ``even``.
    """

    begin: Tensor

    def __init__(self, weight: Tensor, widths: Sequence[int], grid: str = "integer") -> None:
        super().__init__()
        self.grid = grid
        self.widths = tuple(widths)
        self.register_buffer("begin", torch.zeros(len(widths), 2))
        self.stretch = nn.Parameter(torch.zeros(len(widths), 2))  # logarithm: decay leads to 1
        self.refit(weight, torch.ones(len(widths) + 1))

    @torch.no_grad()
    def refit(self, weight: Tensor, beta: Tensor) -> None:
        """Clip ranges anew for this weight, but for the width that is learning its own."""
        top = self._top(beta)
        for j, bits in enumerate(self.widths):
            if not top[j]:
                self.begin[j] = _range(weight, bits, self.grid)
                self.stretch[j] = 0.0

    @torch.no_grad()
    def errors(self, weight: Tensor) -> Tensor:
        """Squared error of each width at its range as it is now; of the weight itself 0.
        (len(widths) + 1,)."""
        exact = _exact(weight)
        ranges = zip(_exact(self.begin * self.stretch.exp()), self.widths, strict=True)
        errors = [
            (nearest(exact, ends[0], ends[1], bits, self.grid) - exact).square().sum()
            for ends, bits in ranges
        ]
        return torch.stack([*errors, exact.new_zeros(())])

    def ranges(self, beta: Tensor) -> Tensor:
        """(len(widths), 2): lower and upper end per width; the highest kept has a gradient."""
        stretch = torch.where(self._top(beta)[:, None], self.stretch, self.stretch.detach())
        return self.begin * stretch.exp()

    def forward(self, weight: Tensor, beta: Tensor) -> Tensor:
        """The mixture at ``beta`` (len(widths) + 1,); its first entry is not read."""
        exact = _exact(weight)
        ranges = zip(_exact(self.ranges(beta)), self.widths, strict=True)
        ladder = [
            *(nearest(exact, ends[0], ends[1], bits, self.grid) for ends, bits in ranges),
            exact,
        ]
        mixed = torch.zeros(())
        for j in range(len(ladder) - 1, 0, -1):
            mixed = beta[j] * (ladder[j] - ladder[j - 1] + mixed)
        return (ladder[0] + mixed).to(weight.dtype)

    def _top(self, beta: Tensor) -> Tensor:
        """(len(widths),) bool: the highest width that is kept, if not the weight itself."""
        kept = torch.cat([beta.detach()[1:] > 0, beta.new_zeros(1, dtype=torch.bool)])
        below = torch.cat([beta.new_ones(1, dtype=torch.bool), kept[:-2]])
        return below.cumprod(0).bool() & ~kept[:-1]


def _exact(tensor: Tensor) -> Tensor:
    """In float32 at least: 16 bits have more steps than half precision has numbers."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def _range(weight: Tensor, bits: int, grid: str) -> Tensor:
    weight = _exact(weight)
    low, high = weight.min(), weight.max()
    whole = torch.stack([low, high if high > low else low + 1e-6])
    tried = [whole * share for share in _SHARES]
    weight = weight.flatten()[:: max(1, weight.numel() // _MAX_COMPARED)]
    errors = [
        float((nearest(weight, ends[0], ends[1], bits, grid) - weight).square().sum())
        for ends in tried
    ]
    return tried[errors.index(min(errors))]
