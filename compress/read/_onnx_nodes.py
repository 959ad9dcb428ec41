"""An ONNX file node by node: the workload of each, and every shape and type that is known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from latprof.compress.read._onnx_graph import OnnxGraph, UnknownShapeError
from latprof.compress.read._onnx_model import Shape, load_onnx
from latprof.compress.read._onnx_workloads import read_node
from latprof.errors import ModelLoadError, UsageError
from latprof.vocabulary import require
from latprof.workloads import Workload

__all__ = ["OnnxNodes", "read_onnx_nodes"]


@dataclass(frozen=True)
class OnnxNodes:
    """What is known of the nodes of a file's main graph.

    Args:
        workloads: {first output of a node: the op, or the largest where it is several}.
        shapes: {name of a value: its shape}; open batches are 1.
        types: {name of a value: its ONNX element type}.
    """

    workloads: Mapping[str, Workload]
    shapes: Mapping[str, Shape]
    types: Mapping[str, int]


def read_onnx_nodes(path: Path) -> OnnxNodes:
    """Of an ``.onnx`` file; weights are not read.

    Raises:
        ModelLoadError: not a model, or open dims beyond the batch.
        MissingExtraError: onnx is not installed.
    """
    onnx = require("onnx", extra="onnx", why="reading an .onnx file")
    graph, shaped, opset, _ = load_onnx(path, {})
    workloads: dict[str, Workload] = {}
    try:
        read = OnnxGraph(onnx, graph, shaped, opset)
        for node, _ in read.nodes:
            if any(a.HasField("g") for a in node.attribute):
                continue
            try:
                found = list(read_node(read, node))
            except (UnknownShapeError, UsageError):
                continue
            if found:
                workloads[node.output[0]] = max(found, key=lambda w: w.macs)
    except (ArithmeticError, LookupError, TypeError, ValueError, RecursionError) as exc:
        raise ModelLoadError(
            f"MODEL {path}: not an ONNX model that runs: {type(exc).__name__}: {exc}"
        ) from exc
    return OnnxNodes(workloads, read.shapes, read.types)
