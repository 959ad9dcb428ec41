"""How long and how fast to train."""

from __future__ import annotations

import math
from dataclasses import dataclass

from latprof.errors import UsageError
from latprof.vocabulary import check_number

__all__ = ["TrainSettings"]


@dataclass(frozen=True)
class TrainSettings:
    """How long and how fast one phase trains; AdamW.

        TrainSettings(epochs=3, lr=2e-3, final=0.5)

    Args:
        epochs: passes over the data.
        lr: peak learning rate.
        final: the learning rate at the end as a share of the peak; cosine between.
        warmup: share of the steps that climb linearly to the peak.
        weight_decay: AdamW's.

    Raises:
        UsageError: a value that cannot be, by its name.
    """

    epochs: int
    lr: float = 4e-3
    final: float = 0.0
    warmup: float = 0.1
    weight_decay: float = 0.05

    def __post_init__(self) -> None:
        if isinstance(self.epochs, bool) or not isinstance(self.epochs, int) or self.epochs < 0:
            raise UsageError(f"epochs is {self.epochs!r}; expected a whole number of at least 0")
        check_number("lr", self.lr, above=0.0)
        check_number("final", self.final, least=0.0, most=1.0)
        check_number("warmup", self.warmup, least=0.0, below=1.0)
        check_number("weight_decay", self.weight_decay, least=0.0)

    def rate(self, progress: float) -> float:
        """Learning rate at ``progress`` in [0, 1)."""
        if progress < self.warmup:
            return self.lr * (progress / self.warmup)
        falling = (1 + math.cos(math.pi * (progress - self.warmup) / (1 - self.warmup))) / 2
        return self.lr * (self.final + (1 - self.final) * falling)
