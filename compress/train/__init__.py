"""A training loop for those without their own, and what is tried before any loop begins."""

from __future__ import annotations

from latprof.compress.train._batches import Batches, TensorBatches
from latprof.compress.train._checkpoint import load_state, save_state
from latprof.compress.train._distillation import Distillation
from latprof.compress.train._loop import Tick, accuracy, train
from latprof.compress.train._settings import TrainSettings
from latprof.compress.train._trainable import check_trainable

__all__ = [
    "Batches",
    "Distillation",
    "TensorBatches",
    "Tick",
    "TrainSettings",
    "accuracy",
    "check_trainable",
    "load_state",
    "save_state",
    "train",
]
