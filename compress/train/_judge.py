"""How good a network is, and how sure that figure is."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from latprof.compress.graph import Inputs
from latprof.compress.train._batch import logits_of, target_of
from latprof.compress.train._evaluate import outputs_on, require_finite
from latprof.compress.train._tasks import Classification, Task
from latprof.errors import UsageError

__all__ = ["Judgment", "judge"]

#: Rows of a batch, of data without batches: their spread is what the error follows from.
_BATCH = 50
#: Groups of batches, of a metric that does not add up over rows.
_GROUPS = 10


@dataclass(frozen=True)
class Judgment:
    """A figure of a network on held-out data.

    Args:
        value: the task's figure on all rows.
        standard_error: of it, as far as rows are a draw from many more; in the same unit.
    """

    value: float
    standard_error: float

    @classmethod
    def of_share(cls, share: float, rows: float) -> Judgment:
        """Of a share of rows, such as an accuracy."""
        return cls(share, math.sqrt(max(share * (1 - share), 0.0) / max(rows, 1.0)))


def judge(
    model: nn.Module,
    data: Any,
    task: Task | None = None,
    *,
    run: Callable[[Inputs], Any] | None = None,
) -> Judgment:
    """The task's figure on held-out data with its standard error, with the model in eval mode.

    Of a classification it is that of a share; of other figures it follows from how batches of 50
    rows (of a DataLoader, its own) differ.

    Args:
        data: (inputs, labels), a Dataset, a DataLoader, or anything that gives batches.
        task: by default classification: top-1.
        run: called in place of the model, such as an exported file.

    Raises:
        TrainingError: the figure is not a finite number.
        UsageError: no data, or a single batch, of which no error follows.

    Example:
        >>> import torch
        >>> from latprof.compress import judge
        >>> judge(torch.nn.Identity(), (torch.eye(2), torch.tensor([0, 0])))
        Judgment(value=0.5, standard_error=0.3535533905932738)
    """
    task = task or Classification()
    with torch.inference_mode():
        return _judged(model, data, task, run)


def _judged(model: nn.Module, data: Any, task: Task, run: Any) -> Judgment:
    meter = task.meter()
    if meter is not None:
        return _of_meter(meter, model, data, task, run)
    rows = [
        task.score(outputs, batch) for outputs, batch in outputs_on(model, data, task, _BATCH, run)
    ]
    sums = torch.tensor([float(part) for part, _ in rows], dtype=torch.float64)  # (B,)
    counts = torch.tensor([float(count) for _, count in rows], dtype=torch.float64)
    value = float(sums.sum()) / max(float(counts.sum()), 1.0)
    require_finite(value, task)
    if isinstance(task, Classification):
        return Judgment.of_share(value, float(counts.sum()))
    return Judgment(value, _of_ratio(sums, counts))


def _of_ratio(sums: Tensor, counts: Tensor) -> float:
    """Standard error of sum / count over batches (B,) that are draws (Cochran, 1977, 6.4)."""
    number = _several(len(sums))
    off = sums - counts * (sums.sum() / counts.sum())
    return math.sqrt(float(off.square().sum()) * number / (number - 1)) / float(counts.sum())


def _of_meter(meter: Any, model: nn.Module, data: Any, task: Task, run: Any) -> Judgment:
    """Of a ``torchmetrics.Metric``: from the spread of its figures on groups of batches."""
    whole, groups = meter, [meter.clone() for _ in range(_GROUPS)]
    seen = 0
    for outputs, batch in outputs_on(model, data, task, _BATCH, run):
        pair = logits_of(outputs), target_of(batch)
        for one in (whole, groups[seen % _GROUPS]):
            one.to(pair[0].device).update(*pair)
        seen += 1
    value = float(whole.compute())
    require_finite(value, task)
    number = min(_several(seen), _GROUPS)
    figures = torch.tensor([float(g.compute()) for g in groups[:number]], dtype=torch.float64)
    return Judgment(value, float(figures.std()) / math.sqrt(number))


def _several(batches: int) -> int:
    if batches < 2:
        raise UsageError(
            "the held-out data has a single batch; expected two or more, or more than "
            f"{_BATCH} rows, for a standard error"
        )
    return batches
