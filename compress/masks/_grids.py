"""The numbers that a weight of few bits may take, and the nearest of them.

``integer`` and ``symmetric`` grids are those of runtimes: whole multiples of a step, zero among
them, so that a value is (code - zero point) * step. ``even`` is the paper's: from one end of a
range to the other, wherever zero lies. Rounding is straight-through; the ends of the range have a
gradient through the step (as in LSQ, arXiv:1902.08153).
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["clip", "nearest"]

_HALF_BITS = 16


def nearest(
    weight: Tensor, lower: Tensor, upper: Tensor, bits: int, grid: str, half: str = "float16"
) -> Tensor:
    """Of each weight, the nearest number of the grid.

    Args:
        weight: of any shape.
        lower, upper: ends of the range, () or of a shape that broadcasts; an integer grid holds
            zero, and ends within half a step of them.
        bits: width; 0 is zero, 16 is that of ``half``, which has no range, and 1 is the two ends of
            the range on any grid (of ``symmetric``, -s and s).
        grid: ``integer``, ``symmetric`` or ``even``.
        half: ``float16`` or ``bfloat16``.
    """
    if bits == _HALF_BITS:
        rounded = weight.to(getattr(torch, half)).to(weight.dtype)
        return weight + (rounded - weight).detach()
    if bits == 0:
        return weight * 0
    if grid == "symmetric":
        upper = torch.maximum(-lower, upper)
        lower = -upper
    if grid == "even" or bits == 1:
        return _even(weight, lower, upper, bits)
    if grid == "symmetric":
        most = 2 ** (bits - 1) - 1
        return _multiples(weight, upper / most, torch.tensor(-most), torch.tensor(most))
    top = 2**bits - 1
    lower, upper = lower.clamp_max(0), upper.clamp_min(0)
    step = ((upper - lower) / top).clamp_min(torch.finfo(weight.dtype).tiny)
    zero = (-lower / step).detach().round().clamp(0, top)
    return _multiples(weight, step, -zero, top - zero)


def _even(weight: Tensor, lower: Tensor, upper: Tensor, bits: int) -> Tensor:
    step = (upper - lower) / (2**bits - 1)
    place = (clip(weight, lower, upper) - lower) / step
    found: Tensor = lower + step * (place + (place.round() - place).detach())
    return found


def _multiples(weight: Tensor, step: Tensor, least: Tensor, most: Tensor) -> Tensor:
    place = torch.minimum(torch.maximum(weight / step, least), most)
    return step * (place + (place.round() - place).detach())


def clip(weight: Tensor, lower: Tensor, upper: Tensor) -> Tensor:
    """The weight within [lower, upper]; gradients reach all three."""
    return upper - torch.relu(upper - lower - torch.relu(weight - lower))
