"""One weight at several bit widths, nested (Nasery et al., appendix A)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from latprof.compress.masks._grids import nearest
from latprof.compress.masks._scales import Scales
from latprof.compress.space import Layer

__all__ = ["Bits"]

#: Shares of the weight's range that are tried as the first clip range of each bit width.
_SHARES = (1.0, 0.85, 0.7, 0.55, 0.4, 0.3, 0.2)
#: Of a larger weight, every so many values stand for all when shares are compared.
_MAX_COMPARED = 1 << 20
_HALF_BITS = 16


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
        scales: which values share a range; all by default.
        half: what 16 bits are, ``float16`` or ``bfloat16``.
    """

    begin: Tensor

    def __init__(
        self,
        weight: Tensor,
        widths: Sequence[int],
        grid: str = "integer",
        *,
        scales: Scales | None = None,
        half: str = "float16",
    ) -> None:
        super().__init__()
        self.grid, self.half_type = grid, half
        self.widths = tuple(widths)
        layer = Layer("", tuple(weight.shape))
        self.scales = Scales(layer, "tensor") if scales is None else scales
        shape = (len(widths), 2, *self.scales.count)
        self.register_buffer("begin", torch.zeros(shape))
        self.stretch = nn.Parameter(torch.zeros(shape))  # logarithm: decay leads to 1
        self.refit(weight, torch.ones(len(widths) + 1))

    @torch.no_grad()
    def refit(self, weight: Tensor, beta: Tensor, *, every: bool = False) -> None:
        """Clip ranges anew for this weight, but for the width that is learning its own; with
        ``every`` for that too."""
        top = self._top(beta)
        rows = _exact(self.scales.rows(weight))
        for j, bits in enumerate(self.widths):
            if 0 < bits < _HALF_BITS and (every or not top[j]):
                self.begin[j] = _range(rows, bits, self.grid).view(self.begin[j].shape)
                self.stretch[j] = 0.0

    @torch.no_grad()
    def errors(self, weight: Tensor) -> Tensor:
        """Squared error of each width at its range as it is now; of the weight itself 0.
        (len(widths) + 1,)."""
        exact = _exact(self.scales.rows(weight))
        ladder = self._rungs(exact, self.begin * self.stretch.exp())
        errors = [(rung - exact).square().sum() for rung in ladder]
        return torch.stack([*errors, exact.new_zeros(())])

    def ranges(self, beta: Tensor) -> Tensor:
        """(len(widths), 2, ...): lower and upper end per width; the highest kept has a gradient."""
        top = self._top(beta).view(-1, *(1 for _ in self.begin.shape[1:]))
        stretch = torch.where(top, self.stretch, self.stretch.detach())
        return self.begin * stretch.exp()

    def forward(self, weight: Tensor, beta: Tensor) -> Tensor:
        """The mixture at ``beta`` (len(widths) + 1,); its first entry is not read."""
        exact = _exact(self.scales.rows(weight))
        ladder = [*self._rungs(exact, self.ranges(beta)), exact]
        mixed = torch.zeros(())
        for j in range(len(ladder) - 1, 0, -1):
            mixed = beta[j] * (ladder[j] - ladder[j - 1] + mixed)
        found = ladder[0] + mixed
        if not torch.is_grad_enabled():  # sums are rounded, and a file has the grid's own values
            found = torch.where(((beta == 0) | (beta == 1))[1:].all(), _top_of(ladder, beta), found)
        return self.scales.back(found.to(weight.dtype))

    def _rungs(self, rows: Tensor, ranges: Tensor) -> list[Tensor]:
        """Rows (S, n) at each width, with these ranges (len(widths), 2, ...)."""
        ends = _exact(ranges).reshape(len(self.widths), 2, -1, 1)
        return [
            nearest(rows, low, high, bits, self.grid, self.half_type)
            for (low, high), bits in zip(ends, self.widths, strict=True)
        ]

    def _top(self, beta: Tensor) -> Tensor:
        """(len(widths),) bool: the highest width that is kept, if not the weight itself."""
        kept = torch.cat([beta.detach()[1:] > 0, beta.new_zeros(1, dtype=torch.bool)])
        below = torch.cat([beta.new_ones(1, dtype=torch.bool), kept[:-2]])
        return below.cumprod(0).bool() & ~kept[:-1]


def _top_of(ladder: Sequence[Tensor], beta: Tensor) -> Tensor:
    """The highest of the ladder that is kept, where betas are 0 or 1."""
    kept = (beta[1:] == 1).cumprod(0)
    found = ladder[0]
    for rung, here in zip(ladder[1:], kept, strict=True):
        found = torch.where(here.bool(), rung, found)
    return found


def _exact(tensor: Tensor) -> Tensor:
    """In float32 at least: 16 bits have more steps than half precision has numbers."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def _range(rows: Tensor, bits: int, grid: str) -> Tensor:
    """(2, S) ends of the range of each row (S, n)."""
    low, high = rows.amin(1), rows.amax(1)
    whole = torch.stack([low, torch.where(high > low, high, low + 1e-6)])
    tried = torch.stack([whole * share for share in _SHARES])  # (shares, 2, S)
    rows = rows[:, :: max(1, rows.shape[1] // _MAX_COMPARED)]
    errors = [
        (nearest(rows, ends[0][:, None], ends[1][:, None], bits, grid) - rows).square().sum(1)
        for ends in tried
    ]
    best = torch.stack(errors).argmin(0)  # (S,)
    return tried.gather(0, best.expand(1, 2, -1))[0]
