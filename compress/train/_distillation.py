"""The loss of a training, which may also follow the original network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from latprof.compress.train._batch import logits_of, model_inputs, target_of
from latprof.compress.train._tasks import Classification, Task
from latprof.errors import UsageError
from latprof.vocabulary import check_number

__all__ = ["Distillation"]


@dataclass(frozen=True)
class Distillation:
    """The task's loss mixed with the original network's logits (Hinton et al., arXiv:1503.02531).

    loss = (1 - coefficient) * task + coefficient * T^2 * KL(teacher / T || student / T)

    Of a task whose outputs are no logits of classes the teacher's part is the mean squared
    distance to its outputs.

    Args:
        teacher: the original network in eval mode; None: the task's loss alone.
        coefficient: share of the teacher's part, in [0, 1].
        temperature: T, above 0.
        task: gives the loss without a teacher; cross-entropy by default.
        function: (outputs, the teacher's outputs, batch) -> scalar, in place of the teacher's part.

    Raises:
        UsageError: a coefficient or temperature that cannot be.
    """

    teacher: nn.Module | None = None
    coefficient: float = 0.5
    temperature: float = 3.0
    task: Task = field(default_factory=Classification)
    function: Callable[[Any, Any, Any], Tensor] | None = None

    def __post_init__(self) -> None:
        check_number("coefficient", self.coefficient, least=0.0, most=1.0)
        check_number("temperature", self.temperature, above=0.0)

    def loss(self, outputs: Any, batch: Any) -> Tensor:
        """The loss of a batch, (): what the model gave for it."""
        hard = self.task.loss(outputs, batch)
        if self.teacher is None or self.coefficient == 0:
            return hard
        inputs = model_inputs(self.teacher, batch, with_labels=self.task.with_labels)
        with torch.no_grad():
            teacher_outputs = self.teacher(*inputs.args, **inputs.kwargs)
        if self.function is not None:
            soft = self.function(outputs, teacher_outputs, batch)
        else:
            soft = self._distance(logits_of(outputs), logits_of(teacher_outputs), batch)
        return (1 - self.coefficient) * hard + self.coefficient * soft

    def _distance(self, logits: Tensor, teacher_outputs: Tensor, batch: Any) -> Tensor:
        if not self._classes(logits, batch):
            return functional.mse_loss(logits, teacher_outputs)
        t, axis = self.temperature, -1
        if logits.ndim > 2 and target_of(batch).shape != logits.shape[:2]:
            axis = 1  # pixels: (B, C, ...)
        soft = functional.kl_div(
            functional.log_softmax(logits / t, axis),
            functional.log_softmax(teacher_outputs / t, axis),
            reduction="batchmean",
            log_target=True,
        )
        places = logits.numel() // (len(logits) * logits.shape[axis])  # tokens or pixels of a row
        return t * t * soft / places

    def _classes(self, logits: Tensor, batch: Any) -> bool:
        """Whether the outputs are logits of the classes that whole-numbered labels tell."""
        try:
            labels = target_of(batch)
        except UsageError:  # a task without labels
            return False
        whole = isinstance(labels, Tensor) and not labels.is_floating_point()
        return whole and logits.ndim >= 2 and logits.shape[-1] > 1
