"""Optimizers and schedules by name, or as callables."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import nn

from latprof.errors import UsageError

__all__ = ["OPTIMIZERS", "SCHEDULES", "make_optimizer", "rate_at"]

#: Optimizers by the name that a run file has; any other name is looked for in torch.optim.
OPTIMIZERS: dict[str, type[torch.optim.Optimizer]] = {
    "adamw": torch.optim.AdamW,
    "adam": torch.optim.Adam,
    "rmsprop": torch.optim.RMSprop,
    "sgd": torch.optim.SGD,
}


def make_optimizer(
    spec: str | Callable[..., Any],
    parameters: Iterable[nn.Parameter],
    lr: float,
    weight_decay: float,
    arguments: Mapping[str, Any],
) -> torch.optim.Optimizer:
    """The optimizer of a name, or what a callable makes of (parameters, lr).

    Raises:
        UsageError: no such name, or it does not take the arguments.
    """
    if callable(spec):
        made: Any = spec(parameters, lr=lr, **arguments)
        if not isinstance(made, torch.optim.Optimizer):
            raise UsageError(f"optimizer returns {type(made).__name__}; expected an Optimizer")
        return made
    kind = OPTIMIZERS.get(spec.lower(), getattr(torch.optim, spec, None))
    if not isinstance(kind, type) or not issubclass(kind, torch.optim.Optimizer):
        raise UsageError(
            f"optimizer is {spec!r}; expected one of {', '.join(OPTIMIZERS)}, a class of "
            "torch.optim, or a callable"
        )
    # Elsewhere it is added to the gradient, where a share that suits AdamW is far too much.
    decay = {"weight_decay": weight_decay} if kind is torch.optim.AdamW else {}
    try:
        return kind(parameters, **{"lr": lr, **decay, **arguments})
    except (TypeError, ValueError) as exc:
        raise UsageError(f"optimizer {spec}: {exc}") from exc


def _cosine(progress: float) -> float:
    return (1 + math.cos(math.pi * progress)) / 2


#: Share of the way from the peak to the end that is left, by the progress after the warm-up.
SCHEDULES: dict[str, Callable[[float], float]] = {
    "cosine": _cosine,
    "linear": lambda progress: 1 - progress,
    "constant": lambda progress: 1.0,
    # RMSProp's companion in the MobileNet papers: as steps of 1%, down to 1e-3 of the peak.
    "exponential": lambda progress: math.exp(math.log(1e-3) * math.floor(100 * progress) / 100),
}


def rate_at(schedule: str | Callable[[float], float], progress: float) -> float:
    """The share of the peak that is above the end, at ``progress`` in [0, 1]."""
    return schedule(progress) if callable(schedule) else SCHEDULES[schedule](progress)
