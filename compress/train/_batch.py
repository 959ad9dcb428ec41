"""One batch: what of it the network is called with, and what it is compared with."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from latprof.compress.graph import Inputs
from latprof.errors import UsageError

__all__ = ["LABELS", "batch_size", "logits_of", "model_inputs", "moved_to", "target_of"]

#: Names of what a network is compared with, in batches that are dicts.
LABELS = ("labels", "label", "label_ids", "target", "targets")


def model_inputs(model: nn.Module, batch: Any, *, with_labels: bool = False) -> Inputs:
    """What ``model`` is called with.

    A tensor is the input; of a tuple the last part is the target and all before it are positional
    inputs, where a dict among them is the named ones; of a dict those that ``forward`` takes, less
    the labels.

    Args:
        batch: a tensor, a tuple or list, or a mapping such as a BatchEncoding.
        with_labels: the model computes its own loss: labels are given to it.

    Raises:
        UsageError: no such batch, or nothing in it that ``forward`` takes.
    """
    if isinstance(batch, Mapping):
        taken = _parameters(model)
        labels = set() if with_labels else set(LABELS)
        found = {
            str(key): value
            for key, value in batch.items()
            if key not in labels and (taken is None or key in taken)
        }
        if not found:
            names = ", ".join(map(str, batch)) or "nothing"
            raise UsageError(
                f"a batch has {names}; {type(model).__name__} takes "
                f"{', '.join(sorted(taken or ()))}: name the columns as its forward does"
            )
        return Inputs((), found)
    if isinstance(batch, (tuple, list)) and batch:
        given = tuple(batch) if with_labels else tuple(batch[:-1]) or tuple(batch)
        if not with_labels and len(given) == 1:
            if isinstance(given[0], Mapping):
                return model_inputs(model, given[0])
            if isinstance(given[0], (tuple, list)):
                return Inputs(tuple(given[0]))
        return Inputs(given)
    if isinstance(batch, Tensor):
        return Inputs((batch,))
    raise UsageError(
        f"a batch is {type(batch).__name__}; expected a tensor, a tuple (inputs, labels) or a dict"
    )


def target_of(batch: Any) -> Any:
    """What the outputs are compared with: the last of a tuple, or the labels of a dict.

    Raises:
        UsageError: the batch has none.
    """
    if isinstance(batch, Mapping):
        for name in LABELS:
            if name in batch:
                return batch[name]
        names = ", ".join(map(str, batch)) or "nothing"
        raise UsageError(f"a batch has {names}, and no labels; expected one of {', '.join(LABELS)}")
    if isinstance(batch, (tuple, list)) and len(batch) > 1:
        return batch[-1]
    raise UsageError(
        f"a batch is {type(batch).__name__} without labels; expected (inputs, labels), or a dict "
        "with labels"
    )


def logits_of(outputs: Any) -> Tensor:
    """The first floating tensor of a model's outputs that is no loss: ``logits`` where named.

    Raises:
        UsageError: there is none.
    """
    if isinstance(outputs, Tensor):
        return outputs
    if isinstance(outputs, Mapping):
        if "logits" in outputs:
            return logits_of(outputs["logits"])
        outputs = [value for key, value in outputs.items() if key != "loss"]
    elif hasattr(outputs, "logits"):
        return logits_of(outputs.logits)
    if isinstance(outputs, (tuple, list)):
        for each in outputs:
            if isinstance(each, Tensor) and each.is_floating_point() and each.ndim > 0:
                return each
    raise UsageError(
        f"the model returns {type(outputs).__name__} without logits; give a loss and a metric of "
        "your own"
    )


def moved_to(batch: Any, device: torch.device) -> Any:
    """The batch on the device."""
    if device.type == "cpu":
        return batch
    from accelerate.utils import send_to_device

    return send_to_device(batch, device, non_blocking=True)


def batch_size(batch: Any) -> int:
    """Rows of a batch: the length of its first tensor; 1 where it has none."""
    if isinstance(batch, Tensor):
        return len(batch) if batch.ndim else 1
    if isinstance(batch, Mapping):
        batch = list(batch.values())
    if isinstance(batch, (tuple, list)):
        for each in batch:
            if isinstance(each, (Tensor, Mapping, tuple, list)):
                return batch_size(each)
    return 1


def rows(batch: Any, start: int, stop: int, of: int) -> Any:
    """Rows ``start`` to ``stop`` of each tensor of a batch of ``of`` rows."""
    if isinstance(batch, Tensor):
        return batch[start:stop] if batch.ndim and len(batch) == of else batch
    if isinstance(batch, Mapping):
        return {key: rows(value, start, stop, of) for key, value in batch.items()}
    if isinstance(batch, (tuple, list)):
        return type(batch)(rows(value, start, stop, of) for value in batch)
    return batch


def _parameters(model: nn.Module) -> set[str] | None:
    """Names that ``forward`` takes; None: any."""
    inner: Any = getattr(model, "module", model)  # DistributedDataParallel
    inner = inner.model if hasattr(inner, "alpha") and hasattr(inner, "model") else inner
    parameters = inspect.signature(inner.forward).parameters
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()) and len(parameters) == 1:
        return None
    return set(parameters)
