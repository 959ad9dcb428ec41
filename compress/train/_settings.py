"""How long and how fast to train."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import torch
from torch import nn

from latprof.compress.train._optimizers import SCHEDULES, make_optimizer, rate_at
from latprof.errors import UsageError
from latprof.vocabulary import check_number

__all__ = ["PRECISIONS", "TrainSettings"]

PRECISIONS = ("auto", "no", "bf16", "fp16")


@dataclass(frozen=True, repr=False)
class TrainSettings:
    """How long and how fast one phase trains.

        TrainSettings(epochs=3, lr=2e-3, final=0.5)
        TrainSettings(epochs=3, lr=0.1, optimizer="sgd", optimizer_args={"momentum": 0.9})

    Args:
        epochs: passes over the data.
        lr: peak learning rate.
        final: the learning rate at the end as a share of the peak.
        warmup: share of the steps that climb linearly to the peak.
        weight_decay: AdamW's; that of another optimizer is among its ``optimizer_args``.
        optimizer: ``adamw``, ``adam``, ``sgd``, ``rmsprop``, a class of torch.optim by name, or
            (parameters, lr=...) -> Optimizer.
        optimizer_args: what else it is made with.
        schedule: between peak and end: ``cosine``, ``linear``, ``constant``, ``exponential``, or a
            function of the progress in [0, 1] to a share in [0, 1].
        precision: ``auto``: what ``accelerate launch`` says, else float32; ``no``, ``bf16``,
            ``fp16``.
        accumulate: batches of one optimizer step.
        clip_norm: gradients are scaled down to this norm; 0: they are not.
        rewind: the share of the schedule at which the phase begins. With the schedule of the
            original's training it is learning-rate rewinding (Renda et al., 2020).

    Raises:
        UsageError: a value that cannot be, by its name.
    """

    epochs: int
    lr: float = 4e-3
    final: float = 0.0
    warmup: float = 0.1
    weight_decay: float = 0.05
    optimizer: str | Callable[..., Any] = "adamw"
    optimizer_args: Mapping[str, Any] = field(default_factory=dict, hash=False)
    schedule: str | Callable[[float], float] = "cosine"
    precision: str = "auto"
    accumulate: int = 1
    clip_norm: float = 0.0
    rewind: float = 0.0

    def __post_init__(self) -> None:
        if isinstance(self.epochs, bool) or not isinstance(self.epochs, int) or self.epochs < 0:
            raise UsageError(f"epochs is {self.epochs!r}; expected a whole number of at least 0")
        check_number("lr", self.lr, above=0.0)
        check_number("final", self.final, least=0.0, most=1.0)
        check_number("warmup", self.warmup, least=0.0, below=1.0)
        check_number("weight_decay", self.weight_decay, least=0.0)
        check_number("clip_norm", self.clip_norm, least=0.0)
        check_number("rewind", self.rewind, least=0.0, below=1.0)
        if type(self.accumulate) is not int or self.accumulate < 1:
            raise UsageError(f"accumulate is {self.accumulate!r}; expected a whole number >= 1")
        if self.precision not in PRECISIONS:
            raise UsageError(
                f"precision is {self.precision!r}; expected one of {', '.join(PRECISIONS)}"
            )
        if not callable(self.schedule) and self.schedule not in SCHEDULES:
            raise UsageError(
                f"schedule is {self.schedule!r}; expected one of {', '.join(SCHEDULES)}, or a "
                "function"
            )
        if not callable(self.optimizer):
            self.make_optimizer([nn.Parameter(torch.zeros(1))])  # a typo is reported at once

    def __repr__(self) -> str:
        """Without what is as it was before these could be chosen: run folders keep this text."""
        always = ("epochs", "lr", "final", "warmup", "weight_decay")
        plain = TrainSettings(self.epochs)
        shown = [
            f"{f.name}={getattr(self, f.name)!r}"
            for f in fields(self)
            if f.name in always or getattr(self, f.name) != getattr(plain, f.name)
        ]
        return f"TrainSettings({', '.join(shown)})"

    def steps(self, batches: int) -> int:
        """Optimizer steps of the phase, with so many batches an epoch."""
        return self.epochs * self.steps_per_epoch(batches)

    def steps_per_epoch(self, batches: int) -> int:
        """Optimizer steps of one epoch; batches that are left over are not used in it."""
        return max(1, batches // self.accumulate) if batches else 0

    def make_optimizer(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """The optimizer of the phase, at the peak learning rate.

        Raises:
            UsageError: no such optimizer, or it does not take its arguments.
        """
        return make_optimizer(
            self.optimizer, parameters, self.lr, self.weight_decay, self.optimizer_args
        )

    def rate(self, progress: float) -> float:
        """Learning rate at ``progress`` in [0, 1)."""
        progress = self.rewind + (1 - self.rewind) * progress
        if progress < self.warmup:
            return self.lr * (progress / self.warmup)
        falling = rate_at(self.schedule, (progress - self.warmup) / (1 - self.warmup))
        return self.lr * (self.final + (1 - self.final) * falling)
