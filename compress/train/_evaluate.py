"""How good a network is, by its task's figure."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from latprof.compress.graph import Inputs
from latprof.compress.train._batch import logits_of, model_inputs, moved_to, target_of
from latprof.compress.train._tasks import Classification, Task
from latprof.errors import TrainingError, UsageError

__all__ = ["accuracy", "evaluate", "held_out_batches", "outputs_on", "require_finite"]


def accuracy(model: nn.Module, images: Tensor, labels: Tensor, batch: int = 500) -> float:
    """Top-1 share in [0, 1], in eval mode: images (N, ...), labels (N,)."""
    return evaluate(model, (images, labels), Classification(), batch=batch)


def evaluate(
    model: nn.Module,
    data: Any,
    task: Task | None = None,
    *,
    batch: int = 500,
    run: Callable[[Inputs], Any] | None = None,
) -> float:
    """The task's figure on test data, with the model in eval mode; no batch is kept.

    Args:
        data: (inputs, labels), a Dataset, a DataLoader, or anything that gives batches.
        task: by default classification: top-1.
        batch: rows at once, of data that has no batches.
        run: called in place of the model, such as an exported file.

    Raises:
        TrainingError: the figure is not a finite number.
        UsageError: no data.

    Example:
        >>> import torch
        >>> from latprof.compress import evaluate
        >>> evaluate(torch.nn.Identity(), (torch.eye(3), torch.tensor([0, 1, 0])))
        0.6666666666666666
    """
    task = task or Classification()
    meter = task.meter()
    total, count = torch.zeros((), dtype=torch.float64), torch.zeros((), dtype=torch.float64)
    with torch.inference_mode():
        for outputs, moved in outputs_on(model, data, task, batch, run):
            if meter is not None:
                logits = logits_of(outputs)
                meter.to(logits.device).update(logits, target_of(moved))
                continue
            part, rows = task.score(outputs, moved)
            total = total.to(part.device) + part.double()
            count = count.to(rows.device) + rows.double()
    value = float(meter.compute()) if meter is not None else float(total) / max(float(count), 1.0)
    require_finite(value, task)
    return value


def outputs_on(
    model: nn.Module,
    data: Any,
    task: Task,
    batch: int = 500,
    run: Callable[[Inputs], Any] | None = None,
) -> Iterator[tuple[Any, Any]]:
    """(outputs, batch) of each batch of test data, in eval mode; for use in inference mode.

    Raises:
        UsageError: no data.
    """
    model.eval()
    device = next((t.device for t in model.parameters()), torch.device("cpu"))
    seen = 0
    for one in held_out_batches(data, batch):
        moved = moved_to(one, device)
        inputs = model_inputs(model, moved, with_labels=task.with_labels)
        outputs = run(inputs) if run is not None else model(*inputs.args, **inputs.kwargs)
        seen += 1
        yield outputs, moved
    if not seen:
        raise UsageError("the test data has no batch; expected at least one row")


def require_finite(value: float, task: Task) -> None:
    """Raises TrainingError where a figure is none."""
    if not math.isfinite(value):
        raise TrainingError(
            f"the metric {task.metric} is {value} on the test data; expected a finite number: look "
            "for NaN in outputs and labels"
        )


def held_out_batches(data: Any, batch: int = 500) -> Iterable[Any]:
    """Batches of test data, in order, again at each call.

    Raises:
        UsageError: it is no data.
    """
    if isinstance(data, tuple) and len(data) == 2 and all(isinstance(t, Tensor) for t in data):
        inputs, labels = data
        if len(inputs) != len(labels):
            raise UsageError(f"{len(inputs)} test inputs and {len(labels)} labels")
        return zip(torch.split(inputs, batch), torch.split(labels, batch), strict=True)
    if isinstance(data, DataLoader):
        return data
    if hasattr(data, "epoch"):
        found: Iterable[Any] = data.epoch(0)
        return found
    if isinstance(data, Dataset) or (hasattr(data, "__getitem__") and hasattr(data, "__len__")):
        return DataLoader(data, batch_size=min(batch, 64))
    if isinstance(data, Iterable):
        return data
    raise UsageError(
        f"test data is {type(data).__name__}; expected (inputs, labels), a Dataset or a DataLoader"
    )
