"""What a network is trained for: a loss, and the figure that it is judged by."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from latprof.compress.train._batch import batch_size, logits_of, target_of
from latprof.errors import UsageError

__all__ = ["TASKS", "Classification", "OwnLoss", "Regression", "Task", "with_functions"]

#: Labels that are not counted, as transformers and torch have it.
_IGNORED = -100


class Task(ABC):
    """What a network is trained for.

    Laws: ``loss`` is a scalar that has a gradient in the outputs; ``score`` has none, and its mean
    over rows does not depend on how rows are put into batches.

    Attributes:
        metric: name of the figure.
        higher_is_better: the direction in which it improves.
        with_labels: the model is given the labels, for it computes its own loss.
    """

    metric: str = "accuracy"
    higher_is_better: bool = True
    with_labels: bool = False

    @abstractmethod
    def loss(self, outputs: Any, batch: Any) -> Tensor:
        """Of a batch, ()."""

    @abstractmethod
    def score(self, outputs: Any, batch: Any) -> tuple[Tensor, Tensor]:
        """(sum of the figure over what is judged, how many that are), both ()."""

    def meter(self) -> Any:
        """A fresh ``torchmetrics.Metric`` that is updated with (outputs, targets), or None:
        ``score`` judges."""
        return None


class Classification(Task):
    """Cross-entropy and top-1 of images, texts, tokens or pixels; labels of -100 do not count.

    Logits are (B, C) for labels (B,), (B, T, C) for tokens (B, T), or (B, C, ...) for (B, ...).
    """

    def loss(self, outputs: Any, batch: Any) -> Tensor:
        logits, labels = self._pair(outputs, batch)
        return functional.cross_entropy(logits, labels, ignore_index=_IGNORED)

    def score(self, outputs: Any, batch: Any) -> tuple[Tensor, Tensor]:
        chosen, labels = self.predictions(outputs, batch)
        return (chosen == labels).sum().float(), chosen.new_tensor(chosen.numel()).float()

    def predictions(self, outputs: Any, batch: Any) -> tuple[Tensor, Tensor]:
        """(classes chosen, labels) of what counts, (N,) each."""
        logits, labels = self._pair(outputs, batch)
        counted = labels != _IGNORED
        return logits.detach().argmax(1)[counted], labels[counted]

    def _pair(self, outputs: Any, batch: Any) -> tuple[Tensor, Tensor]:
        """Logits with the classes second, and labels."""
        logits, labels = logits_of(outputs), target_of(batch)
        if logits.ndim == 3 and labels.shape == logits.shape[:2]:
            logits = logits.transpose(1, 2)  # (B, C, T)
        if labels.ndim == logits.ndim and labels.shape[1:] == (1,):
            labels = labels[:, 0]
        if (
            labels.is_floating_point()
            or labels.shape != (len(logits), *logits.shape[2:])
            or logits.ndim < 2
        ):
            raise UsageError(
                f"labels are {_shape(labels)} for outputs {_shape(logits)}; expected whole numbers "
                "of the outputs' shape without its classes: for other tasks set task or loss"
            )
        return logits, labels.long()


class Regression(Task):
    """Mean squared error, of outputs and targets of the same shape."""

    metric, higher_is_better = "mse", False

    def loss(self, outputs: Any, batch: Any) -> Tensor:
        return functional.mse_loss(*self._pair(outputs, batch))

    def score(self, outputs: Any, batch: Any) -> tuple[Tensor, Tensor]:
        values, targets = self._pair(outputs, batch)
        errors = (values.detach() - targets).square()
        return errors.sum().float(), errors.new_tensor(errors.numel())

    def _pair(self, outputs: Any, batch: Any) -> tuple[Tensor, Tensor]:
        values, targets = logits_of(outputs), target_of(batch)
        if values.ndim == targets.ndim + 1 and values.shape[-1] == 1:
            values = values[..., 0]
        if values.shape != targets.shape:
            raise UsageError(
                f"targets are {_shape(targets)} for outputs {_shape(values)}; expected the same"
            )
        return values, targets.to(values.dtype)


class OwnLoss(Task):
    """The model computes its loss: ``outputs.loss``, ``outputs["loss"]``, or a dict of losses,
    as detectors give it; judged by that loss unless a metric is given."""

    metric, higher_is_better, with_labels = "loss", False, True

    def loss(self, outputs: Any, batch: Any) -> Tensor:
        if isinstance(outputs, Mapping):
            losses = (
                [outputs["loss"]]
                if outputs.get("loss") is not None
                else [v for v in outputs.values() if isinstance(v, Tensor) and v.ndim == 0]
            )
        else:
            own = getattr(outputs, "loss", None)
            losses = [] if own is None else [own]
        if not losses:
            raise UsageError(
                f"the model returns {type(outputs).__name__} without a loss; expected one under "
                "loss, or set task or loss"
            )
        return torch.stack([one.mean() for one in losses]).sum()

    def score(self, outputs: Any, batch: Any) -> tuple[Tensor, Tensor]:
        return _weighted(self.loss(outputs, batch), batch)


@dataclass(frozen=True)
class _Given(Task):
    """A task with a loss or a metric of the user's."""

    base: Task
    own_loss: Callable[[Any, Any], Tensor] | None
    own_metric: Any
    metric: str
    higher_is_better: bool

    @property
    def with_labels(self) -> bool:  # type: ignore[override]
        return self.base.with_labels

    def loss(self, outputs: Any, batch: Any) -> Tensor:
        if self.own_loss is None:
            return self.base.loss(outputs, batch)
        loss = self.own_loss(outputs, batch)
        if not isinstance(loss, Tensor) or loss.numel() != 1:
            got = _shape(loss) if isinstance(loss, Tensor) else type(loss).__name__
            raise UsageError(f"loss returns {got}; expected a tensor of one number")
        return loss.reshape(())

    def score(self, outputs: Any, batch: Any) -> tuple[Tensor, Tensor]:
        if self.own_metric is not None and not self._has_meter:
            value = torch.as_tensor(self.own_metric(outputs, batch)).detach().float()
            if value.numel() != 1:
                raise UsageError(f"metric returns {_shape(value)}; expected one number")
            rows = batch_size(batch)
            return value.reshape(()) * rows, value.new_tensor(rows).reshape(())
        if self.own_loss is not None:
            return _weighted(self.loss(outputs, batch), batch)
        return self.base.score(outputs, batch)

    def meter(self) -> Any:
        return self.own_metric.clone() if self._has_meter else None

    @property
    def _has_meter(self) -> bool:
        """Whether the metric adds up over batches by itself; of one batch the loss is shown."""
        return hasattr(self.own_metric, "update") and hasattr(self.own_metric, "compute")


#: Tasks by the name that RUN.toml has.
TASKS: dict[str, Task] = {
    "classification": Classification(),
    "regression": Regression(),
    "own": OwnLoss(),
}


def with_functions(
    task: Task,
    loss: Callable[[Any, Any], Tensor] | None = None,
    metric: Any = None,
    higher_is_better: bool | None = None,
) -> Task:
    """``task`` with a loss or a metric of one's own.

    Args:
        loss: (outputs, batch) -> scalar.
        metric: a ``torchmetrics.Metric``, updated with (outputs, targets), or (outputs, batch) ->
            number, the mean over the batch's rows. With a loss and no metric that loss judges.
        higher_is_better: the direction in which the metric improves; a ``torchmetrics.Metric``
            mostly knows its own.

    Raises:
        UsageError: the direction of the metric is not known.
    """
    if loss is None and metric is None:
        return task
    if metric is None:
        return _Given(task, loss, None, "loss", False)
    if isinstance(metric, type):
        metric = metric()
    known = getattr(metric, "higher_is_better", None) if higher_is_better is None else None
    direction = higher_is_better if higher_is_better is not None else known
    if direction is None:
        raise UsageError(
            "which way metric improves is not known; set higher_is_better to true or false"
        )
    name = getattr(metric, "__name__", type(metric).__name__)
    return _Given(task, loss, metric, name, direction)


def _weighted(mean: Tensor, batch: Any) -> tuple[Tensor, Tensor]:
    """(sum, count) of a mean over the rows of a batch."""
    count = batch_size(batch)
    return mean.detach().float() * count, mean.new_tensor(float(count))


def _shape(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"
