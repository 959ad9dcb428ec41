"""Which classes a classifier gets right."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from latprof.compress.train._evaluate import outputs_on
from latprof.compress.train._tasks import Classification

__all__ = ["class_counts"]


def class_counts(model: nn.Module, data: Any) -> tuple[Tensor, Tensor]:
    """(rows, rows that are right) of each class, (C,) each, of labels 0 to C - 1.

    Args:
        data: (inputs, labels), a Dataset, a DataLoader, or anything that gives batches.

    Raises:
        UsageError: no data, or none of a classification.

    Example:
        >>> import torch
        >>> from latprof.compress.train import class_counts
        >>> class_counts(torch.nn.Identity(), (torch.eye(3), torch.tensor([0, 1, 0])))
        (tensor([2, 1]), tensor([1, 1]))
    """
    task, rows, right = Classification(), torch.zeros(0).long(), torch.zeros(0).long()
    with torch.inference_mode():
        for outputs, batch in outputs_on(model, data, task):
            chosen, labels = (part.cpu() for part in task.predictions(outputs, batch))
            rows = _sum(rows, torch.bincount(labels))
            right = _sum(right, torch.bincount(labels[chosen == labels], minlength=len(rows)))
    return rows, right


def _sum(counts: Tensor, more: Tensor) -> Tensor:
    """(C,) of counts (C1,) and (C2,)."""
    size = max(len(counts), len(more))
    first, second = (nn.functional.pad(each, (0, size - len(each))) for each in (counts, more))
    return first + second
