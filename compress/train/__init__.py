"""A training loop for those without their own."""

from __future__ import annotations

from latprof.compress.train._train import (
    Batches,
    Distillation,
    TensorBatches,
    Tick,
    TrainSettings,
    accuracy,
    train,
)

__all__ = [
    "Batches",
    "Distillation",
    "TensorBatches",
    "Tick",
    "TrainSettings",
    "accuracy",
    "train",
]
