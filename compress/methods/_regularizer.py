"""lambda times the relative cost: the term that is added to the loss."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn

from latprof.compress.cost import Goals
from latprof.compress.masks import HostScalar
from latprof.compress.methods._steering import steer

__all__ = ["Regularizer"]

#: Where lambda starts: the penalty's gradient of the masks is this share of the task's.
_FIRST_SHARE = 0.1


class SoftCounted(Protocol):
    """What is trained, and the counts that it stands for."""

    @property
    def alpha(self) -> nn.Parameter: ...

    def soft_counts(self, alpha: Tensor) -> Tensor: ...


class Regularizer(nn.Module):
    """lambda * cost / original cost at the masks' soft counts (Nasery et al., eq. 3).

    The cost is linearized where it was evaluated last: masks move by a fraction of a percent from
    one evaluation to the next, and its tangent stands for it.

    Args:
        total: masks, N.

    Attributes:
        weight: lambda.
        cost_gradient: gradient of the relative cost where it was evaluated last, (N,).
        intercept: the tangent's value where all masks are 0.
        evaluated: False where the cost is to be evaluated before it is used again.
    """

    weight: Tensor
    cost_gradient: Tensor
    intercept: Tensor
    evaluated: Tensor

    def __init__(self, total: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.zeros(()))
        self.register_buffer("cost_gradient", torch.zeros(total))
        self.register_buffer("intercept", torch.zeros(()))
        self.register_buffer("evaluated", torch.zeros((), dtype=torch.bool))
        self._weight, self._evaluated = HostScalar(), HostScalar()

    def forward(self, masks: SoftCounted, goals: Goals) -> Tensor:
        """The penalty, (), with its gradient of ``masks.alpha``."""
        if not self._evaluated.of(self.evaluated):
            self._evaluate(masks, goals)
        value: Tensor = self.weight * (self.intercept + masks.alpha.dot(self.cost_gradient))
        return value

    def gradient(self) -> Tensor:
        """The part of the masks' gradient that is the penalty's, (N,)."""
        return self.weight * self.cost_gradient

    @property
    def penalty_weight(self) -> float:
        """Lambda as a number."""
        return float(self._weight.of(self.weight))

    def fix(self, weight: float) -> None:
        """Set lambda, in the buffer's own precision."""
        self.weight.fill_(weight)

    def expire(self) -> None:
        """Have the cost evaluated again before it is used."""
        self._evaluated.write(self.evaluated, False)

    def steer(
        self, soft: Tensor, goals: Goals, task_gradient: Tensor, progress: float, steerings: int
    ) -> None:
        """Change lambda by how far the cost is from its target.

        Args:
            soft: counts that are near the true ones, and move smoothly, (G,).
            task_gradient: of the loss without the penalty, (N,); lambda's first value follows it.
            progress: share of the way to the budget that is due.
            steerings: times in the mask phase that lambda is steered.
        """
        if self.penalty_weight == 0:
            size = self.cost_gradient.norm()
            if size > 0:
                self.weight.copy_(_FIRST_SHARE * task_gradient.norm() / size)
        else:
            self.weight.fill_(steer(self.penalty_weight, goals.gap(soft, progress), steerings))
        self.expire()

    @torch.enable_grad()  # the penalty may be read within no_grad
    def _evaluate(self, masks: SoftCounted, goals: Goals) -> None:
        alpha = masks.alpha.detach().requires_grad_()
        relative = goals.relative_cost(masks.soft_counts(alpha))
        (gradient,) = torch.autograd.grad(relative, alpha)
        self.cost_gradient.copy_(gradient)
        self.intercept.copy_((relative - alpha.dot(gradient)).detach())
        self._evaluated.write(self.evaluated, True)
