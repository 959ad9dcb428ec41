"""A loss that also follows the original network."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from latprof.vocabulary import check_number

__all__ = ["Distillation"]


@dataclass(frozen=True)
class Distillation:
    """Cross-entropy mixed with the original network's logits (Hinton et al., arXiv:1503.02531).

    loss = (1 - coefficient) * CE + coefficient * T^2 * KL(teacher / T || student / T)

    Args:
        teacher: the original network in eval mode; None: cross-entropy alone.
        coefficient: share of the teacher's part, in [0, 1].
        temperature: T, above 0.

    Raises:
        UsageError: a coefficient or temperature that cannot be.
    """

    teacher: nn.Module | None = None
    coefficient: float = 0.5
    temperature: float = 3.0

    def __post_init__(self) -> None:
        check_number("coefficient", self.coefficient, least=0.0, most=1.0)
        check_number("temperature", self.temperature, above=0.0)

    def loss(self, logits: Tensor, inputs: Tensor, labels: Tensor) -> Tensor:
        """The loss of a batch, (): logits (B, C), inputs (B, ...), labels (B,)."""
        hard = functional.cross_entropy(logits, labels)
        if self.teacher is None:
            return hard
        with torch.no_grad():
            teacher_logits = self.teacher(inputs)
        t = self.temperature
        soft = functional.kl_div(
            functional.log_softmax(logits / t, -1),
            functional.log_softmax(teacher_logits / t, -1),
            reduction="batchmean",
            log_target=True,
        )
        return (1 - self.coefficient) * hard + self.coefficient * t * t * soft
