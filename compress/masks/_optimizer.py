"""The masks' own optimizer."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from latprof.compress.masks._masks import Masks

__all__ = ["MaskOptimizer"]

#: Sum of the masks' steps over the whole mask phase; masks start at 1 on average.
_TOTAL_DISTANCE = 5.0
_BETA1, _BETA2 = 0.9, 0.99


class MaskOptimizer(nn.Module):
    """Projected Adam of the masks (Nasery et al., eq. 6 and 7).

    Its steps are of a size that lets a mask cross from 1 to 0 within the mask phase, whatever the
    user's optimizer and learning rate are.

    Args:
        total: masks, N.
        steps: length of the mask phase.
    """

    momentum: Tensor
    variance: Tensor

    def __init__(self, total: int, steps: int) -> None:
        super().__init__()
        self.steps = steps
        self.register_buffer("momentum", torch.zeros(total))
        self.register_buffer("variance", torch.zeros(total))

    def step(self, masks: Masks, grad: Tensor, number: int) -> None:
        """Move the masks against their gradient (N,); ``number`` counts the steps from 1."""
        self.momentum.lerp_(grad, 1 - _BETA1)
        self.variance.lerp_(grad.square(), 1 - _BETA2)
        deviation = (self.variance / (1 - _BETA2**number)).sqrt() + 1e-12
        size = _TOTAL_DISTANCE / self.steps / (1 - _BETA1**number)
        masks.project(masks.alpha.addcdiv(self.momentum, deviation, value=-size))
