"""The traced model: groups of channels, counted ops, example inputs."""

from __future__ import annotations

from latprof.compress.graph._graph import Graph, Stats, multiplied
from latprof.compress.graph._groups import CountedOp, Group, ParameterSlice
from latprof.compress.graph._inputs import Inputs, evaluating, flat_outputs
from latprof.compress.graph._quiet import culprit, first_line, quiet
from latprof.compress.graph._rows import GroupRow

__all__ = [
    "CountedOp",
    "Graph",
    "Group",
    "GroupRow",
    "Inputs",
    "ParameterSlice",
    "Stats",
    "culprit",
    "evaluating",
    "first_line",
    "flat_outputs",
    "multiplied",
    "quiet",
]
