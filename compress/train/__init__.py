"""Training for those without a loop of their own, and what is tried before any loop begins."""

from __future__ import annotations

from latprof.compress.train._batch import LABELS, logits_of, model_inputs, target_of
from latprof.compress.train._batches import Batches, TensorBatches
from latprof.compress.train._checkpoint import load_state, save_state
from latprof.compress.train._classes import class_counts
from latprof.compress.train._datasets import DatasetBatches, as_batches, row_error
from latprof.compress.train._distillation import Distillation
from latprof.compress.train._evaluate import accuracy, evaluate, held_out_batches
from latprof.compress.train._judge import Judgment, judge
from latprof.compress.train._loop import Tick, channels_last, train
from latprof.compress.train._settings import TrainSettings
from latprof.compress.train._tasks import (
    TASKS,
    Classification,
    OwnLoss,
    Regression,
    Task,
    with_functions,
)
from latprof.compress.train._trainable import check_trainable, lagging_statistics

__all__ = [
    "LABELS",
    "TASKS",
    "Batches",
    "Classification",
    "DatasetBatches",
    "Distillation",
    "Judgment",
    "OwnLoss",
    "Regression",
    "Task",
    "TensorBatches",
    "Tick",
    "TrainSettings",
    "accuracy",
    "as_batches",
    "channels_last",
    "check_trainable",
    "class_counts",
    "evaluate",
    "held_out_batches",
    "judge",
    "lagging_statistics",
    "load_state",
    "logits_of",
    "model_inputs",
    "row_error",
    "save_state",
    "target_of",
    "train",
    "with_functions",
]
