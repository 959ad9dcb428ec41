"""The ops that the runtime ran, each with the nodes of the file that it does the work of."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from latprof.devices import OpProfile
from latprof.pipeline.explaining.graph import Model, inputs_of
from latprof.vocabulary import require
from latprof.workloads import Workload

__all__ = ["REORDERS", "RunOp", "correct_for_profiler", "run_ops"]

#: Of an op's time, at most so much is taken to be the profiler's own.
_MAX_PROFILER_SHARE = 0.75
#: Into the layout in blocks of channels that some kernels want, and out of it.
REORDERS = ("ReorderInput", "ReorderOutput")
_MOVED = ("ReorderOutput", "Transpose")
#: What the runtime calls a value that it computes in another type than the file.
_RETYPED = "InsertedPrecisionFreeCast_"
#: Ops that the runtime adds where its kernels want another layout or type.
_ADDED = ("Cast", "Transpose")
#: Ops that are identified by their weights.
_WEIGHTED = ("Conv", "Gemm", "MatMul")


@dataclass(frozen=True)
class RunOp:
    """One op that ran.

    Args:
        name: as the runtime names it.
        op: its kind in the runtime: ``Conv``, ``ReorderInput``.
        seconds: inside the model.
        nodes: first outputs of the nodes of the file that it does the work of; empty for what the
            runtime added.
        workload: the largest of theirs; None where there is none.
        reads: numbers of the ops whose results it takes.
    """

    name: str
    op: str
    seconds: float
    nodes: tuple[str, ...]
    workload: Workload | None
    reads: tuple[int, ...] = ()


def correct_for_profiler(seconds: Sequence[float], whole_s: float) -> list[float]:
    """Op times whose sum is not above the whole: what they exceed it by is the profiler's, which
    costs about the same for each op, and at most a part of a small one."""
    times = np.asarray(seconds)
    if times.sum() <= whole_s:
        return [float(s) for s in times]
    low, high = 0.0, float(times.max())
    for _ in range(60):
        each = (low + high) / 2
        left = np.maximum(times - each, (1 - _MAX_PROFILER_SHARE) * times)
        low, high = (each, high) if left.sum() > whole_s else (low, each)
    return [float(s) for s in np.maximum(times - high, (1 - _MAX_PROFILER_SHARE) * times)]


def run_ops(model: Model, profile: OpProfile, seconds: Sequence[float]) -> list[RunOp]:
    """Each op of a profile, with its nodes of the file."""
    onnx = require("onnx", extra="onnx", why="explaining an .onnx file")
    ran = list(onnx.load_from_string(profile.graph).graph.node)
    made = _matched(profile, ran)
    stands_for = _original_values(model, ran)
    results = {stands_for[out] for node in ran for out in node.output if out in stands_for}
    maker = {
        out: i for i, node in enumerate(made) if node is not None for out in node.output if out
    }
    ops = []
    for op, node, took_s in zip(profile.ops, made, seconds, strict=True):
        nodes: tuple[str, ...] = ()
        if node is not None and node.op_type not in REORDERS:
            outs = [stands_for[out] for out in node.output if out in stands_for]
            nodes = _between(model, outs, results)
            if node.op_type in _ADDED and not any(
                model.maker[name].op_type == node.op_type for name in nodes
            ):
                nodes = ()
        workloads = [model.known.workloads[n] for n in nodes if n in model.known.workloads]
        workload = max(workloads, key=lambda w: w.macs) if workloads else None
        given = inputs_of(node) if node is not None else ()
        reads = tuple(sorted({maker[name] for name in given if name in maker}))
        ops.append(RunOp(op.name, op.op, took_s, nodes, workload, reads))
    return ops


def _matched(profile: OpProfile, ran: Sequence[Any]) -> list[Any | None]:
    """The node of each op: by name, and in their order where they have none."""
    named = {(node.name, node.op_type): node for node in ran if node.name}
    unnamed: dict[str, list[Any]] = defaultdict(list)
    for node in ran:
        if not node.name:
            unnamed[node.op_type].append(node)
    found: list[Any | None] = []
    for op in profile.ops:
        node = named.get((op.name, op.op))
        if node is None and unnamed[op.op] and re.fullmatch(rf"{re.escape(op.op)}_\d+", op.name):
            node = unnamed[op.op].pop(0)
        found.append(node)
    return found


def _original_values(model: Model, ran: Sequence[Any]) -> dict[str, str]:
    """{value in the runtime's graph: the value of the file that it holds}, as far as is known."""
    stands_for = {out: out for node in ran for out in node.output if out in model.maker}
    for node in ran:  # blocked layouts: a node is named after what it makes
        stem = re.sub(r"_nchwc(_token_\d+)?$", "", node.name)
        if node.domain.endswith("nchwc") and stem in model.maker and node.output:
            stands_for.setdefault(node.output[0], stem)
    for node in ran:  # computed in another type: a name with a prefix
        for out in node.output:
            if (stem := out.removeprefix(_RETYPED)) in model.maker:
                stands_for.setdefault(out, stem)
    for node in reversed(ran):
        if node.op_type in _MOVED and node.output[0] in stands_for:
            source = node.input[0]
            if source not in stands_for and source:
                stands_for[source] = stands_for[node.output[0]]
    _claim_by_constants(model, ran, stands_for)
    _claim_in_order(model, ran, stands_for)
    return stands_for


def _claim_by_constants(model: Model, ran: Sequence[Any], stands_for: dict[str, str]) -> None:
    """Ops whose results have new names, by the weights they read."""
    owners: dict[str, list[Any]] = defaultdict(list)
    for name in model.constants:
        for reader in model.readers(name):
            through = reader.op_type == "DequantizeLinear"
            owners[name] += model.readers(reader.output[0]) if through else [reader]
    claimed = set(stands_for.values())
    for node in _unclaimed(ran, stands_for):
        for name in node.input:
            # Scales and zero points are shared by ops of all kinds; weights are not scalars.
            if name not in model.constants or model.value(name).ndim < 2:
                continue
            for owner in owners[name]:
                result = _result_of(model, owner, node)
                if result not in claimed and node.output[0] not in stands_for:
                    stands_for[node.output[0]] = result
                    claimed.add(result)


def _claim_in_order(model: Model, ran: Sequence[Any], stands_for: dict[str, str]) -> None:
    """The rest of the ops with weights: of each kind, in the order in which they run."""
    claimed = set(stands_for.values())
    results = set(claimed)
    inside = {n for value in claimed for n in _between(model, [value], results - {value})}
    free: dict[str, list[Any]] = defaultdict(list)
    for node in model.nodes:
        if node.output[0] not in inside and node.op_type in _WEIGHTED:
            free[node.op_type].append(node)
    for node in _unclaimed(ran, stands_for):
        kind = node.op_type.removeprefix("QLinear").removeprefix("Fused")
        if free[kind]:
            stands_for[node.output[0]] = _result_of(model, free[kind].pop(0), node)


def _unclaimed(ran: Sequence[Any], stands_for: Mapping[str, str]) -> list[Any]:
    return [node for node in ran if node.output and node.output[0] not in stands_for]


def _result_of(model: Model, node: Any, ran: Any) -> str:
    """What a node of the file makes; where it ran on integers, after it is quantized."""
    name = node.output[0]
    if ran.op_type.startswith("QLinear"):
        reader = model.reader(name)
        while reader is not None and reader.op_type in ("Relu", "Clip", "QuantizeLinear"):
            name = reader.output[0]
            reader = None if reader.op_type == "QuantizeLinear" else model.reader(name)
    return str(name)


def _between(model: Model, outs: Sequence[str], results: set[str]) -> tuple[str, ...]:
    """Nodes that make these values from what other ops give."""
    found: dict[str, None] = {}
    rest = list(outs)
    while rest:
        node = model.maker.get(rest.pop())
        if node is None or node.output[0] in found:
            continue
        found[node.output[0]] = None
        rest += [name for name in node.input if name not in results]
    order = {node.output[0]: i for i, node in enumerate(model.nodes)}
    return tuple(sorted(found, key=order.__getitem__))
