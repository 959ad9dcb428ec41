"""Follows channels through an exported graph, one aten call at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from latprof.compress.trace._contractions import contractions
from latprof.compress.trace._labels import LabelArray, varying
from latprof.compress.trace._map_workload import map_workload, softmax_of_labels
from latprof.compress.trace._memory import HeldTensors
from latprof.compress.trace._parameters import ParameterLabels
from latprof.compress.trace._values import Call, Op, Value, unlabelled
from latprof.workloads import Pool, Workload

__all__ = ["RULES", "Rule", "Tracer", "rule"]

Rule = Callable[["Tracer", Call], "Value | list[Value]"]
#: (workload, labels of its input channels, of its output channels), once all labels are known.
Resolve = Callable[[], "tuple[Workload, LabelArray, LabelArray]"]
RULES: dict[str, Rule] = {}


def rule(*names: str) -> Callable[[Rule], Rule]:
    """Register how channels pass through the aten ops called ``names``."""

    def register(function: Rule) -> Rule:
        for name in names:
            RULES[name] = function
        return function

    return register


class Tracer(ParameterLabels):
    """The state of one trace. Rules call its methods; ``settle`` ends it.

    Args:
        tensors: {name: parameter or buffer}, tied ones under one name.
        exclude: patterns of module or parameter names that must stay as they are.
    """

    def __init__(self, tensors: Mapping[str, torch.Tensor], exclude: Sequence[str] = ()) -> None:
        super().__init__(tensors, exclude)
        self.ops: list[Op] = []
        self.held = HeldTensors()
        self.grouped: dict[str, int] = {}  # weight -> channels of a group that goes as a whole
        self.lookups: dict[str, list[tuple[str, int]]] = {}  # embedding -> (module, rows) per call
        self.fixed = False  # whether the current call depends on no input
        self._later: list[tuple[int, Resolve]] = []
        self._boxes: list[tuple[LabelArray, str]] = []
        self._splits: list[tuple[LabelArray, str]] = []
        self._meetings: list[tuple[LabelArray, LabelArray, str]] = []
        self._fixed: list[tuple[LabelArray, frozenset[int], str]] = []

    # -- for the rules -----------------------------------------------------------------------

    def value(self, call: Call, labels: LabelArray, index: int = 0) -> Value:
        """The call's output number ``index``, with these labels."""
        found = self.labels.compress(labels)
        if len(varying(found)) > 1:
            self._boxes.append((found, call.where))
        return Value(call.shapes[index], found, call.floating[index], source=call.name)

    def meet(self, call: Call, values: Sequence[Value]) -> LabelArray:
        """Labels of an elementwise result of ``values``, broadcast against each other."""
        arrays = [self.of(v) for v in values]
        ndim = max((a.ndim for a in arrays), default=0)
        shapes = [(1,) * (ndim - v.ndim) + v.shape for v in values]
        arrays = [a.reshape((1,) * (ndim - a.ndim) + a.shape) for a in arrays]
        hard = [np.where(self.labels.is_hard(a), a, 0) for a in arrays]
        hard = self._without_lone(call, hard, shapes)
        out = unlabelled(ndim)
        for array in hard:
            self.labels.unite(out, array)
            out = _first_of(out, array)
        for array in arrays:  # parameters used as data join what they meet when all is known
            soft = np.where(self.labels.is_hard(array), 0, array)
            if soft.any():
                if out.any():
                    self._meetings.append((out, soft, call.where))
                out = _first_of(out, soft)
        for array, shape in zip(arrays, shapes, strict=True):
            extent = frozenset(d for d in range(ndim) if shape[d] > 1)
            if extent and out.any() and not array.all():
                beside = np.where(
                    np.broadcast_to(array, np.broadcast_shapes(array.shape, out.shape)) == 0, out, 0
                )
                self._fixed.append((beside, extent, f"{call.where} meets a tensor of fixed size"))
        return out

    def _without_lone(
        self, call: Call, arrays: list[LabelArray], shapes: list[tuple[int, ...]]
    ) -> list[LabelArray]:
        """One channel that is broadcast over others stays, so that these can go one by one."""
        found = list(arrays)
        for i, (array, shape) in enumerate(zip(arrays, shapes, strict=True)):
            if array.size != 1 or not array.any():
                continue
            for other in arrays:
                along = varying(other)
                if along and all(shape[d] == 1 for d in along) and not (other == array).any():
                    self.labels.pin(array, f"{call.where} spreads this one channel over several")
                    found[i] = unlabelled(array.ndim)
        return found

    def cut(self, labels: LabelArray, parts: int, reason: str) -> None:
        """(c,) labels cut into equal parts by code that cannot know which channels are gone."""
        if labels.size > 1:
            self._splits.append((labels.reshape(parts, -1), reason))

    def column(self, value: Value, dim: int, reason: str) -> LabelArray:
        """(n,) labels along ``dim``, tied along every other dim."""
        others = [d for d in range(value.ndim) if d != dim]
        labels = self.labels.tie(self.of(value), others, f"{reason} shares its weights over them")
        return np.broadcast_to(labels.reshape(-1), (value.shape[dim],))

    def emit(self, call: Call, workload: Workload, c_in: LabelArray, c_out: LabelArray) -> None:
        """Record an op that takes time; its channel counts are those labels' survivors."""
        typed = workload.with_dtype(call.dtype)
        self.ops.append(Op(call.name, call.module, typed, c_in, c_out))

    def emit_later(self, call: Call, resolve: Resolve) -> None:
        """Record an op whose workload depends on where the channels lie when all is known."""

        def typed() -> tuple[Workload, LabelArray, LabelArray]:
            workload, c_in, c_out = resolve()
            return workload.with_dtype(call.dtype), c_in, c_out

        self._later.append((len(self.ops), typed))
        self.ops.append(Op(call.name, call.module, None))

    def emit_map(self, call: Call, op: str | None, made: Value, axis: int | None = None) -> None:
        """Record an elementwise op; its channel dim is the one that varies when all is known."""
        if self.fixed:
            return  # runtimes compute it once
        if op is None:
            self.emit_unmeasured(call)
        elif made.ndim and 0 not in made.shape:
            self.emit_later(call, lambda: map_workload(self.labels, op, made, axis))

    def emit_softmax(self, call: Call, made: Value, axis: int) -> None:
        """Record a softmax over ``axis``."""
        if not self.fixed and made.ndim and 0 not in made.shape:
            axis %= made.ndim
            self.emit_later(call, lambda: softmax_of_labels(self.labels, made, axis))

    def emit_pool(
        self, call: Call, op: str, x: Value, kernel: int, stride: int, made: Value
    ) -> None:
        """Record a pooling of x (batch, c, h, w)."""
        if self.fixed:
            return
        h, w = (1, 1, *x.shape)[-2:] if x.ndim > 3 else (x.shape[-1], 1)
        axis = 1 if x.ndim > 2 else 0
        channels = np.broadcast_to(self.of(made).reshape(-1), (x.shape[axis],))
        batch = x.shape[0] if axis else 1
        work = Pool(op, h=h, w=w, c=x.shape[axis], kernel=kernel, stride=stride, batch=batch)
        self.emit(call, work, channels, channels)

    def emit_unmeasured(self, call: Call, *, opaque: bool = False) -> None:
        """Record an op that no workload describes."""
        if not self.fixed:
            self.ops.append(Op(call.name, call.module, None, opaque=opaque))

    def keep_whole(self, labels: LabelArray, dims: Sequence[int], reason: str) -> None:
        """Pin what still varies along ``dims`` when the trace ends."""
        self._fixed.append((labels, frozenset(dims), reason))

    # -- the end ----------------------------------------------------------------------------

    def settle(self) -> None:
        """Unite and pin what can only be decided once every op has been seen."""
        changed = True
        while changed:
            changed = False
            for labels, _ in self._splits:
                changed |= self._unite(labels, labels[:1])
            for labels, soft, _ in self._meetings:
                changed |= self._meet_parameter(labels, soft)
            for labels, _ in self._boxes:
                changed |= self._make_box(labels)
        for atoms in self._atoms.values():
            self._complete(atoms)
        for labels, where in self._boxes:
            if len(varying(self.labels.compress(labels))) > 1:
                self.labels.pin(labels, f"{where} puts them beside what stays")
        for labels, dims, reason in self._fixed:
            found = self.labels.compress(labels)
            if set(varying(found)) & dims:
                self.labels.pin(found, reason)
        for name, atoms in self._atoms.items():
            found = self.labels.compress(np.where(self.labels.is_hard(atoms), atoms, 0))
            along = varying(found)
            if len(along) == 1 and (name, along[0]) not in self.slots:
                self._join(name, along[0], found.ravel())
            elif along and not (len(along) == 1 and (name, along[0]) in self.slots):
                self.labels.pin(found, f"{name} is used in more than one way")
        for index, resolve in self._later:
            op = self.ops[index]
            self.ops[index] = Op(op.name, op.module, *resolve())

    def _complete(self, atoms: LabelArray) -> None:
        """Slices of a parameter that met nothing go with those beside them that did."""
        hard = self.labels.is_hard(atoms)
        if hard.all() or not hard.any():
            return
        met = np.where(hard, self.labels.find(atoms), 0)
        for d in range(atoms.ndim):
            others = tuple(i for i in range(atoms.ndim) if i != d)
            column = met.max(axis=others, keepdims=True)
            if np.array_equal(met, np.where(hard, column, 0)):
                self.labels.unite(atoms, np.broadcast_to(column, atoms.shape))
                return

    def _unite(self, a: LabelArray, b: LabelArray) -> bool:
        a, b = np.broadcast_arrays(self.labels.find(a), self.labels.find(b))
        if np.array_equal(np.where(b > 0, a, 0), np.where(a > 0, b, 0)):
            return False
        self.labels.unite(a, b)
        return True

    def _meet_parameter(self, labels: LabelArray, soft: LabelArray) -> bool:
        """A parameter loses slices where what it meets varies along a dim that it has."""
        labels = self.labels.compress(labels)
        dims = varying(labels)
        own = [d for d in dims if soft.shape[d] > 1]
        if not own:
            return False
        changed = False
        for d in set(dims) - set(own):  # one slice serves all of these
            changed |= self._unite(labels, np.take(labels, [0], axis=d))
        return self._unite(soft, labels) or changed

    def _make_box(self, labels: LabelArray) -> bool:
        """Survivors must form a box: let the label vary along the one dim that keeps most units."""
        labels = self.labels.compress(labels)
        dims = varying(labels)
        if len(dims) < 2:
            return False
        units = {
            d: np.unique(labels[tuple(slice(None) if i == d else 0 for i in range(labels.ndim))])
            for d in dims
        }
        best = max(dims, key=lambda d: (len(units[d]), d))
        others = tuple(d for d in dims if d != best)
        return self._unite(labels, labels.max(axis=others, keepdims=True))


def _first_of(a: LabelArray, b: LabelArray) -> LabelArray:
    """a where it labels, else b."""
    if not b.any():
        return a
    if not a.any():
        return b
    return np.where(a > 0, a, b)


def unknown(tracer: Tracer, call: Call) -> Value | list[Value]:
    """An op without a rule keeps everything that goes into it; its products are counted."""
    for value in tensors_in(call.args.values()):
        tracer.stay(value, f"{call.where} is an op that channels cannot be followed through")
    workloads = [] if tracer.fixed else contractions(call)  # runtimes compute what is fixed once
    for workload in workloads:
        c_in, c_out = (np.zeros(n, np.int64) for n in workload.channels)
        tracer.emit(call, workload, c_in, c_out)
    if not workloads and any(call.floating):
        library = call.target._schema.name.partition("::")[0]
        tracer.emit_unmeasured(call, opaque=library not in ("aten", "prims"))
    return [tracer.value(call, unlabelled(len(s)), i) for i, s in enumerate(call.shapes)]


def tensors_in(args: Any) -> list[Value]:
    """Every value in nested arguments, in order."""
    if isinstance(args, Value):
        return [args]
    if isinstance(args, Mapping):
        args = args.values()
    elif isinstance(args, str) or not hasattr(args, "__iter__"):
        return []
    return [v for a in args for v in tensors_in(a)]
