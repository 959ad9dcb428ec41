"""The paper's own regularizer of bit widths (Nasery et al., App. A), which the study compares.

With widths b1 < b2 < ... and masks alpha in [0, 1], one for each width but the first,

    W  =  W_b1 + alpha_b2 (W_b2 - W_b1 + alpha_b3 (W_b3 - W_b2 + ...))

where W_b is W clipped to a learned range and rounded to 2**b points of it. Written as a mixture,
width k has the share s_k = alpha_b2 ... alpha_bk (1 - alpha_b(k+1)); shares sum to 1. The penalty
vector is v = (b_k s_k), and a kind of count is one number of it:

    l1            sum(v)            the expected bits; b where width b is chosen
    l1l2          l1 / ||v||        the paper's; in [1, sqrt(n)], 1 at every choice, whichever it is
    hoyer_square  (l1 / ||v||) ** 2 in [1, n], likewise

Being scale-free, the last two prefer a decision to none and are blind to which: the paper's count
alone asks for no fewer bits. Multiplied by the first they are exact at every choice and dearer
between; that is ``cost``.

The paper's grid need not hold zero. From 4 bits on ours does, by a shift of less than half a step,
for that is what integer kernels compute with; 1 and 2 bits keep the paper's, where it would cost
accuracy. A layer of 0 bits (alpha_b1 = 0) is a removed layer, and none of this module's business.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from latprof.errors import UsageError

__all__ = ["Bits", "Quantized"]

_KNOWN = (1, 2, 4, 8, 16)
#: Widths from here on have zero on their grid.
_WITH_ZERO = 4
#: Ranges tried when a width starts, as shares of the tensor's largest magnitude.
_SHARES = 20
#: The least width of a range, as a share of the one it started with.
_NARROWEST = 1e-3


@dataclass(frozen=True)
class Quantized:
    """A tensor as integers: ``scale * (integers - zero_point)``.

    Args:
        bits: of each integer.
        integers: int32, in [0, 2**bits - 1].
        scale: step of the grid.
        zero_point: the integer that stands for 0; a fraction where the grid does not hold zero.
    """

    bits: int
    integers: Tensor
    scale: float
    zero_point: float

    def values(self) -> Tensor:
        """Float32, as ``Bits.weight`` gives them once it is hardened."""
        return self.scale * (self.integers.float() - self.zero_point)


class Bits(nn.Module):
    """The bit width of one weight tensor, learned: masks, and a clip range per width.

    Args:
        weight: where the ranges start: each at the least squared error for its width.
        widths: bits to choose from, ascending, of 1, 2, 4, 8 and 16.
    """

    widths: Tensor
    narrowest: Tensor
    fixed: Tensor

    def __init__(self, weight: Tensor, widths: Sequence[int] = _KNOWN) -> None:
        super().__init__()
        if not widths or list(widths) != sorted({*widths} & {*_KNOWN}):
            raise UsageError(
                f"widths are {list(widths)}; expected some of {list(_KNOWN)}, ascending"
            )
        self.register_buffer("widths", torch.tensor(widths), persistent=False)
        self.alpha = nn.Parameter(torch.ones(len(widths) - 1))
        start = torch.stack([_start(weight.detach().float(), b) for b in widths])
        self.low = nn.Parameter(start[:, 0].clone())
        self.high = nn.Parameter(start[:, 1].clone())
        self.register_buffer("narrowest", _NARROWEST * (start[:, 1] - start[:, 0]))
        self.register_buffer("fixed", torch.zeros((), dtype=torch.bool))

    def weight(self, weight: Tensor) -> Tensor:
        """The mixture of ``weight`` at every width; differentiable in weight, masks and ranges.

        Rounding passes gradients straight through; clipping passes them to the range's end where
        it acts. Once hardened, only the chosen width is computed, and the masks get no gradient.
        """
        if self.fixed:
            return self._at(weight, self._index())
        shares = self.shares()
        mixed = shares[0] * self._at(weight, 0)
        for index in range(1, len(shares)):
            mixed = mixed + shares[index] * self._at(weight, index)
        return mixed

    def shares(self) -> Tensor:
        """Weight of each width in the mixture, (n,); they sum to 1."""
        one = self.alpha.new_ones(1)
        gates = torch.cat([one, self.alpha.cumprod(0)])  # nested: never rising
        shares: Tensor = gates * torch.cat([1 - self.alpha, one])
        return shares

    def vector(self) -> Tensor:
        """The penalty vector: each width times its share, (n,)."""
        vector: Tensor = self.widths * self.shares()
        return vector

    def count(self, kind: str) -> Tensor:
        """One number of the penalty vector, (): ``l1``, ``l1l2`` or ``hoyer_square``."""
        vector = self.vector()
        l1 = vector.sum()
        if kind == "l1":
            return l1
        ratio: Tensor = l1 / torch.linalg.vector_norm(vector)
        return ratio if kind == "l1l2" else ratio.square()

    def cost(self, kind: str = "l1l2") -> Tensor:
        """Bits to pay for, (): exact once decided; with a scale-free ``kind``, dearer before."""
        expected = self.count("l1")
        return expected if kind == "l1" else expected * self.count(kind)

    def bits(self) -> int:
        """The width that ``harden`` would choose: up to the first mask under one half."""
        return int(self.widths[self._index()])

    @torch.no_grad()
    def project(self) -> None:
        """After each optimizer step: masks to [0, 1], ranges to some width around zero."""
        self.alpha.clamp_(0, 1)
        half = self.narrowest / 2
        self.low.copy_(torch.minimum(self.low, -half))
        self.high.copy_(torch.maximum(self.high, half))

    @torch.no_grad()
    def harden(self, weight: Tensor) -> Quantized:
        """Fix every mask at 0 or 1, and give ``weight`` as integers of the chosen width.

        From here on ``self.weight(weight)`` equals ``values()`` of what this returns; call it again
        after fine-tuning.
        """
        index = self._index()
        self.alpha.copy_(torch.arange(len(self.alpha), device=self.alpha.device) < index)
        self.fixed.fill_(True)
        position, scale, zero = self._position(weight, index)
        return Quantized(self.bits(), position.round().int(), float(scale), float(zero))

    def _index(self) -> int:
        return int((self.alpha >= 0.5).long().cumprod(0).sum())

    def _at(self, weight: Tensor, index: int) -> Tensor:
        position, scale, zero = self._position(weight, index)
        return scale * (_round(position) - zero)

    def _position(self, weight: Tensor, index: int) -> tuple[Tensor, Tensor, Tensor]:
        """Where each element lies on the grid, in [0, 2**b - 1]; the grid's step and its zero."""
        bits, low, high = int(self.widths[index]), self.low[index], self.high[index]
        scale = (high - low) / (2**bits - 1)
        zero = -low / scale
        if bits >= _WITH_ZERO:
            zero = _round(zero)
        low = -zero * scale
        high = low + (2**bits - 1) * scale
        clipped = high - torch.relu(high - low - torch.relu(weight - low))
        return (clipped - low) / scale, scale, zero


def _round(x: Tensor) -> Tensor:
    """To the nearest integer, with the gradient of no rounding (arXiv:1308.3432)."""
    return x + (x.round() - x).detach()


def _start(weight: Tensor, bits: int) -> Tensor:
    """(low, high) of a symmetric range with the least squared error among a grid of them."""
    top = weight.abs().max().clamp_min(torch.finfo(torch.float32).tiny)
    ends = top * torch.linspace(1 / _SHARES, 1, _SHARES, device=weight.device)
    steps = 2 * ends / (2**bits - 1)
    errors = []
    for end, step in zip(ends, steps, strict=True):
        rounded = ((weight.clamp(-end, end) + end) / step).round() * step - end
        errors.append((rounded - weight).square().sum())
    best = ends[int(torch.stack(errors).argmin())]
    return torch.stack([-best, best])
