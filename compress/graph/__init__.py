"""The traced model: groups of channels, counted ops, example inputs."""

from __future__ import annotations

from latprof.compress.graph._copy import copy_model
from latprof.compress.graph._graph import Graph, Stats, multiplied
from latprof.compress.graph._groups import CountedOp, Group, ParameterSlice
from latprof.compress.graph._inputs import Inputs, evaluating, flat_outputs
from latprof.compress.graph._memory_step import MemoryStep
from latprof.compress.graph._quiet import culprit, first_line, quiet
from latprof.compress.graph._rows import GroupRow
from latprof.compress.graph._tokens import decoding_graph, with_ops_of
from latprof.compress.graph._training_only import (
    TrainingOnlyWarning,
    training_only,
    warn_of_training_only,
)

__all__ = [
    "CountedOp",
    "Graph",
    "Group",
    "GroupRow",
    "Inputs",
    "MemoryStep",
    "ParameterSlice",
    "Stats",
    "TrainingOnlyWarning",
    "copy_model",
    "culprit",
    "decoding_graph",
    "evaluating",
    "first_line",
    "flat_outputs",
    "multiplied",
    "quiet",
    "training_only",
    "warn_of_training_only",
    "with_ops_of",
]
