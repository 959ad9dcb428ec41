"""From labels to groups: channels whose every trace is alike are removed together."""

from __future__ import annotations

import dataclasses
from collections import defaultdict

import numpy as np
import torch
from numpy.typing import NDArray

from latprof.compress.graph import CountedOp, Group, MemoryStep, ParameterSlice
from latprof.compress.trace._labels import LabelArray
from latprof.compress.trace._tracer import Tracer
from latprof.workloads import Workload

__all__ = ["build_groups"]


def build_groups(
    tracer: Tracer,
) -> tuple[tuple[Group, ...], tuple[CountedOp, ...], tuple[MemoryStep, ...]]:
    """Groups from the settled labels; two labels share a group where every dim that one
    touches the other touches as often."""
    find = tracer.labels.find
    slots = {key: find(slot.labels) for key, slot in tracer.slots.items()}
    sides = [(find(op.c_in), find(op.c_out)) for op in tracer.ops]
    of_label, members = _partition(tracer, slots, sides)
    groups = []
    names: dict[str, int] = defaultdict(int)
    for index, (labels, reason) in enumerate(members):
        unit_of = np.full(int(labels.max()) + 1, -1, dtype=np.int64)
        unit_of[labels] = np.arange(len(labels))
        first = ""
        readers: list[ParameterSlice] = []
        writers: list[ParameterSlice] = []
        for (name, dim), found in slots.items():
            known = np.where(found <= labels.max(), found, 0)
            units = np.where(known > 0, unit_of[known], -1)
            if (units >= 0).any():
                part = ParameterSlice(name, dim, torch.from_numpy(units))
                (readers if tracer.slots[name, dim].reads else writers).append(part)
                first = first or name
        base = first.rpartition(".")[0] or first
        if not reason and not readers:
            reason = "no weight reads it"
        groups.append(
            Group(
                index=index,
                name=base,
                size=len(labels),
                unit=_width(readers, writers) // len(labels),
                minimum=1,
                divisor=1,
                prunable=not reason,
                reason=reason,
                readers=tuple(readers),
                writers=tuple(writers),
            )
        )
    for group in sorted(groups, key=lambda g: not g.prunable):  # those people name come first
        names[group.name] += 1
        if (number := names[group.name]) > 1:
            groups[group.index] = dataclasses.replace(group, name=f"{group.name}#{number}")
    ops = tuple(
        _count(op.module, op.workload, found, of_label, groups)
        for op, found in zip(tracer.ops, sides, strict=True)
        if op.workload is not None
    )
    return tuple(groups), ops, tracer.held.steps(tracer.labels, groups, of_label)


def _width(readers: list[ParameterSlice], writers: list[ParameterSlice]) -> int:
    """Channels of the group where they are fewest: not flattened maps, nor q, k and v as one.
    Tables with one figure per head are no channels."""
    parts = [*readers, *(p for p in writers if p.dim == 0)] or writers
    return min(int((p.index >= 0).sum()) for p in parts)


def _partition(
    tracer: Tracer,
    slots: dict[tuple[str, int], LabelArray],
    sides: list[tuple[LabelArray, LabelArray]],
) -> tuple[dict[int, int], list[tuple[NDArray[np.int64], str]]]:
    """({label: group}, [(labels of the group, reason it stays or "")])."""
    signatures: dict[int, list[tuple[int, int]]] = {}
    vectors = [*slots.values(), *(v for pair in sides for v in pair)]
    for number, vector in enumerate(vectors):
        labels, counts = np.unique(vector[vector > 0], return_counts=True)
        same = bool(counts.size) and bool((counts == counts[0]).all())
        parts = (
            [(number, int(counts[0]))] * len(labels)
            if same
            else zip([number] * len(labels), counts.tolist(), strict=True)
        )
        for label, part in zip(labels.tolist(), parts, strict=True):
            if (signature := signatures.get(label)) is not None:
                signature.append(part)
            elif number < len(slots):
                signatures[label] = [part]
    pins, ties = tracer.labels.pins(), tracer.labels.ties()
    by_signature: dict[tuple[object, ...], list[int]] = defaultdict(list)
    for label, signature in signatures.items():
        by_signature[(pins.get(label, ""), *signature)].append(label)
    of_label: dict[int, int] = {}
    members: list[tuple[NDArray[np.int64], str]] = []
    for (pinned, *_), found in by_signature.items():
        reason = str(pinned)
        if len(found) == 1:
            reason = ties.get(found[0], reason or "it is one unit")
        of_label.update(dict.fromkeys(found, len(members)))
        members.append((np.array(sorted(found), dtype=np.int64), reason))
    return of_label, members


def _count(
    module: str,
    workload: Workload,
    sides: tuple[LabelArray, LabelArray],
    of_label: dict[int, int],
    groups: list[Group],
) -> CountedOp:
    mixing, offset = [], []
    for side, total in zip(sides, workload.channels, strict=True):
        labels, counts = np.unique(side, return_counts=True)
        each: dict[int, int] = defaultdict(int)
        for label, count in zip(labels.tolist(), counts.tolist(), strict=True):
            if label in of_label:
                each[of_label[label]] += count
        per_unit = {g: n // groups[g].size for g, n in each.items() if groups[g].prunable}
        mixing.append(per_unit)
        offset.append(total - sum(n * groups[g].size for g, n in per_unit.items()))
    return CountedOp(module, workload, (mixing[0], mixing[1]), (offset[0], offset[1]))
