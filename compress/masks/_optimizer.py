"""The masks' own optimizer."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from latprof.compress.masks._masks import UnitMasks

__all__ = ["STEPS_OF_MASKS", "MaskOptimizer"]

#: Sum of the masks' steps over the whole mask phase; masks start at 1 on average.
_TOTAL_DISTANCE = 5.0
_BETA1, _BETA2 = 0.9, 0.99
#: Adam's own defaults.
_ADAM_BETA2, _ADAM_EPSILON = 0.999, 1e-8
#: By what masks are moved.
STEPS_OF_MASKS = ("own", "adam", "sgd", "user", "none")


class MaskOptimizer(nn.Module):
    """Projected steps of the masks (Nasery et al., eq. 6 and 7).

    Args:
        total: masks, N.
        steps: length of the mask phase.
        kind: ``own``: Adam whose steps are of a size that lets a mask cross from 1 to 0 within the
            mask phase, whatever the user's optimizer and learning rate are; ``adam``, the paper's:
            its defaults, at a rate that falls as a cosine; ``sgd`` at the rate; ``user``: as the
            user's optimizer has moved them; ``none``: they stand still.
        lr: rate of ``adam`` and ``sgd``.
    """

    momentum: Tensor
    variance: Tensor

    def __init__(self, total: int, steps: int, kind: str = "own", lr: float = 1e-3) -> None:
        super().__init__()
        self.steps, self.kind, self.lr = steps, kind, lr
        self.register_buffer("momentum", torch.zeros(total))
        self.register_buffer("variance", torch.zeros(total))

    def step(self, masks: UnitMasks, grad: Tensor, number: int, moved: Tensor) -> None:
        """Move the masks against their gradient (N,).

        Args:
            number: of the step, from 1.
            moved: where the user's optimizer put them, (N,).
        """
        if self.kind == "user":
            masks.project(moved)
        elif self.kind == "sgd":
            masks.project(masks.alpha - self.lr * grad)
        elif self.kind == "adam":
            rate = self.lr * (1 + math.cos(math.pi * min(1.0, number / self.steps))) / 2
            self._adam(masks, grad, number, rate, _ADAM_BETA2, _ADAM_EPSILON)
        elif self.kind == "own":
            self._adam(masks, grad, number, _TOTAL_DISTANCE / self.steps, _BETA2, 1e-12)

    def _adam(
        self, masks: UnitMasks, grad: Tensor, number: int, rate: float, beta2: float, epsilon: float
    ) -> None:
        self.momentum.lerp_(grad, 1 - _BETA1)
        self.variance.lerp_(grad.square(), 1 - beta2)
        deviation = (self.variance / (1 - beta2**number)).sqrt() + epsilon
        size = rate / (1 - _BETA1**number)
        masks.project(masks.alpha.addcdiv(self.momentum, deviation, value=-size))
