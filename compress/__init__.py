"""From any architecture to a physically smaller one that computes the same.

``trace`` follows every channel through a model, ``Compressor`` trains masks to a latency budget,
``shrink`` removes what they zeroed, ``export`` writes the file to deploy. Names load on first
use: reading the workloads of a file asks for no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from latprof.compress._blocks import Block, Depth, LowRank, Prune, Quantise, Sparse
    from latprof.compress._compressor import Compressor
    from latprof.compress._export import Check, export, load_check
    from latprof.compress._export_int8 import Int8Export, Int8Warning, export_int8
    from latprof.compress._graph import Graph, Stats
    from latprof.compress._groups import Group, ParameterSlice
    from latprof.compress._load import load_model
    from latprof.compress._recalibrate import recalibrate
    from latprof.compress._recipe import load_shrunk, recipe_of
    from latprof.compress._shrink import shrink
    from latprof.compress._trace import trace
    from latprof.compress._train import (
        Batches,
        Distillation,
        Recipe,
        TensorBatches,
        Tick,
        accuracy,
        train,
    )
    from latprof.compress._uniform import largest, uniform_counts
    from latprof.compress._variant import variant
    from latprof.compress._workloads import workloads_of_file

_HOMES = {
    "Batches": "_train",
    "Block": "_blocks",
    "Check": "_export",
    "Compressor": "_compressor",
    "Depth": "_blocks",
    "Distillation": "_train",
    "Graph": "_graph",
    "Group": "_groups",
    "Int8Export": "_export_int8",
    "Int8Warning": "_export_int8",
    "LowRank": "_blocks",
    "ParameterSlice": "_groups",
    "Prune": "_blocks",
    "Quantise": "_blocks",
    "Recipe": "_train",
    "Sparse": "_blocks",
    "Stats": "_graph",
    "TensorBatches": "_train",
    "Tick": "_train",
    "accuracy": "_train",
    "export": "_export",
    "export_int8": "_export_int8",
    "largest": "_uniform",
    "load_check": "_export",
    "load_model": "_load",
    "load_shrunk": "_recipe",
    "recalibrate": "_recalibrate",
    "recipe_of": "_recipe",
    "shrink": "_shrink",
    "trace": "_trace",
    "train": "_train",
    "uniform_counts": "_uniform",
    "variant": "_variant",
    "workloads_of_file": "_workloads",
}

__all__ = [
    "Batches",
    "Block",
    "Check",
    "Compressor",
    "Depth",
    "Distillation",
    "Graph",
    "Group",
    "Int8Export",
    "Int8Warning",
    "LowRank",
    "ParameterSlice",
    "Prune",
    "Quantise",
    "Recipe",
    "Sparse",
    "Stats",
    "TensorBatches",
    "Tick",
    "accuracy",
    "export",
    "export_int8",
    "largest",
    "load_check",
    "load_model",
    "load_shrunk",
    "recalibrate",
    "recipe_of",
    "shrink",
    "trace",
    "train",
    "uniform_counts",
    "variant",
    "workloads_of_file",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'latprof.compress' has no attribute {name!r}")
    return getattr(importlib.import_module(f"latprof.compress.{_HOMES[name]}"), name)
