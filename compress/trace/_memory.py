"""Which activations are held at once: tensors by the storage they lie in, from their first use to
their last.

A view is part of the tensor that it views. An op that works element by element writes over an input
that nothing reads afterwards, as runtimes let it. Inputs and outputs of the model are its caller's,
and are held throughout, or from when they are made. What depends on no input is a weight.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import fx

from latprof.compress.graph import Group, MemoryStep
from latprof.compress.trace._labels import LabelArray, Labels
from latprof.compress.trace._values import Value

__all__ = ["HeldTensors", "metas_of"]

_STAYS = -1  # in place of a group


@dataclass
class _Tensor:
    """One storage: what lies in it, and the steps at which it is first and last in use."""

    labels: LabelArray
    shape: tuple[int, ...]
    bytes_each: int
    born: int
    last: int
    is_input: bool = False


@dataclass
class _Step:
    module: str
    reads: list[int]
    makes: list[int] = field(default_factory=list)
    in_place: bool = False


class HeldTensors:
    """Follows the tensors of one trace; ``steps`` ends it."""

    def __init__(self) -> None:
        self._tensors: list[_Tensor] = []
        self._steps: list[_Step] = []
        self._by_storage: dict[int, int] = {}
        self._kept: list[torch.Tensor] = []  # so that no storage's address is given twice

    def add_input(self, value: Value, meta: torch.Tensor) -> None:
        """An input of the model."""
        self._place(value, meta, is_input=True)

    def add(
        self,
        module: str,
        reads: Sequence[Value],
        made: Sequence[Value],
        metas: Sequence[torch.Tensor],
        *,
        elementwise: bool,
    ) -> None:
        """One op: what it reads and makes, in order.

        Args:
            metas: what tells the storage of each that is made.
        """
        step = _Step(module, [v.tensor for v in reads if v.tensor is not None])
        step.in_place = elementwise
        self._steps.append(step)
        for number in step.reads:
            self._tensors[number].last = len(self._steps)
        read = {id(value) for value in reads}
        for value, meta in zip(made, metas, strict=False):
            if value.fixed or value.const is not None or id(value) in read:
                continue
            known = len(self._tensors)
            self._place(value, meta)
            if value.tensor == known:
                step.makes.append(known)

    def read_at_the_end(self, values: Sequence[Value]) -> None:
        """Outputs of the model."""
        for value in values:
            if value.tensor is not None:
                self._tensors[value.tensor].last = len(self._steps) + 1

    def _place(self, value: Value, meta: torch.Tensor, *, is_input: bool = False) -> None:
        storage = meta.untyped_storage()._cdata
        if storage not in self._by_storage:
            self._kept.append(meta)
            self._by_storage[storage] = len(self._tensors)
            now = len(self._steps)
            self._tensors.append(
                _Tensor(value.labels, value.shape, meta.element_size(), now, now, is_input)
            )
        value.tensor = self._by_storage[storage]

    def steps(
        self, labels: Labels, groups: Sequence[Group], of_label: Mapping[int, int]
    ) -> tuple[MemoryStep, ...]:
        """What is held at each op, once the labels are settled.

        Args:
            of_label: {label: group}.
        """
        sizes = [_size(t, labels.find, groups, of_label) for t in self._tensors]
        overwritten = self._overwritten()
        begin: dict[int, list[int]] = defaultdict(list)
        end: dict[int, list[int]] = defaultdict(list)
        for number, tensor in enumerate(self._tensors):
            last = len(self._steps) if tensor.is_input else tensor.last
            begin[1 if tensor.is_input else tensor.born].append(number)
            end[last + 1 - (number in overwritten)].append(number)
        found: list[MemoryStep] = []
        held: set[int] = set()
        for place, step in enumerate(self._steps, 1):
            held = (held | set(begin[place])) - set(end[place])
            total: dict[int, float] = defaultdict(float)
            for number in held:
                for group, each in sizes[number].items():
                    total[group] += each
            offset = total.pop(_STAYS, 0.0)
            found.append(MemoryStep(step.module, dict(total), offset))
        return tuple(found)

    def _overwritten(self) -> set[int]:
        """Tensors that the last op to read them writes its output over."""
        found = set()
        for place, step in enumerate(self._steps, 1):
            if not (step.in_place and len(step.makes) == 1):
                continue
            made = self._tensors[step.makes[0]]
            for number in step.reads:
                tensor = self._tensors[number]
                same = math.prod(tensor.shape) * tensor.bytes_each == (
                    math.prod(made.shape) * made.bytes_each
                )
                if same and tensor.last == place > tensor.born and not tensor.is_input:
                    found.add(number)
                    break
        return found


def metas_of(node: fx.Node) -> list[torch.Tensor]:
    """What the export knows of the tensors that a call makes."""
    leaves = torch.utils._pytree.tree_leaves(node.meta.get("val"))
    return [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]


def _size(
    tensor: _Tensor,
    find: Callable[[LabelArray], LabelArray],
    groups: Sequence[Group],
    of_label: Mapping[int, int],
) -> dict[int, float]:
    """Bytes per unit of each group, and under ``_STAYS`` those that always stay."""
    labels, counts = np.unique(find(tensor.labels), return_counts=True)
    # labels are broadcast to the shape
    spread = math.prod(tensor.shape) // tensor.labels.size * tensor.bytes_each
    whole: dict[int, int] = defaultdict(int)
    for label, count in zip(labels.tolist(), counts.tolist(), strict=True):
        whole[of_label.get(label, _STAYS)] += count * spread
    return {g: n if g == _STAYS else n / groups[g].size for g, n in whole.items()}
