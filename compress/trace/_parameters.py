"""Which channels the slices of each parameter belong to."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import nn

from latprof.compress.trace._labels import LabelArray, Labels
from latprof.compress.trace._values import Slot, Value, unlabelled

__all__ = ["ParameterLabels"]

#: Larger parameters used other than as weights are left whole.
_MAX_ATOMS = 1 << 22


class ParameterLabels:
    """Labels of values, and of the parameters and buffers that they come from.

    A parameter that is used as a weight has *slots*: dims whose slices are channels. One that is
    used as data (added, multiplied) has *atoms*, a label per element, until it is known along
    which dim it meets channels.

    Args:
        tensors: {name: parameter or buffer}, tied ones under one name.
        exclude: patterns of module or parameter names that must stay as they are.
    """

    def __init__(self, tensors: Mapping[str, torch.Tensor], exclude: Sequence[str] = ()) -> None:
        self.tensors = tensors
        self.exclude = tuple(exclude)
        self.labels = Labels()
        self.slots: dict[tuple[str, int], Slot] = {}
        self._atoms: dict[str, LabelArray] = {}
        self._whole: dict[str, str] = {}  # parameters that ops without a rule use: why they stay

    def of(self, value: Value) -> LabelArray:
        """The value's labels now; a parameter used as data gets one label per element."""
        if value.param is None or not value.floating:
            return self.labels.compress(value.labels)
        found = self._parameter_labels(value.param)
        part = [value.span(d) if found.shape[d] > 1 else slice(None) for d in range(found.ndim)]
        return self.labels.compress(found[tuple(part)].transpose(value.perm))

    def pin(self, value: Value, reason: str) -> None:
        self.labels.pin(self.of(value), reason)

    def stay(self, value: Value, reason: str) -> None:
        """Pin the value's channels; parameters that make it are listed as groups that stay."""
        if not value.fixed:
            self.pin(value, reason)
            return
        for name in sorted(value.origins):
            shape = self.tensors[name].shape
            if (atoms := self._atoms.get(name)) is not None:
                self.labels.pin(atoms, reason)
            for d in range(len(shape)):
                if (name, d) in self.slots:
                    self.labels.pin(self.slots[name, d].labels, reason)
            listed = (
                len(shape) > 1 and shape[0] > 1 and isinstance(self.tensors[name], nn.Parameter)
            )
            if listed and atoms is None and (name, 0) not in self.slots:
                self.labels.pin(self.write(name, 0), reason)
            self._whole.setdefault(name, reason)

    def write(self, name: str, dim: int, span: slice = slice(None)) -> LabelArray:
        """Labels of the channels that slices of this parameter make, along ``dim``, of the part
        ``span`` of it."""
        slot = self.slots.get((name, dim))
        if slot is None:
            fresh = self.labels.fresh(self.tensors[name].shape[dim])
            self._join(name, dim, fresh)
            slot = self.slots[name, dim]
            if (pattern := self._excluded(name)) is not None:
                self.labels.pin(fresh, f"excluded by {pattern!r}")
        elif not slot.labels.all():  # used before with channels that stay
            self.labels.pin(slot.labels, f"{name} is also used where nothing can be removed")
        return self.labels.find(slot.labels)[span]

    def follow(
        self,
        name: str,
        dim: int,
        labels: LabelArray,
        *,
        reads: bool = False,
        span: slice = slice(None),
    ) -> None:
        """Slices of this parameter along ``dim`` belong to these channels; labels (n,), of the part
        ``span`` of it."""
        size = self.tensors[name].shape[dim]
        labels = np.broadcast_to(labels, (len(range(size)[span]),))
        if len(labels) < size:
            whole = self.write(name, dim).copy()
            self.labels.unite(whole[span], labels)
            self.labels.pin(
                whole[span][labels == 0], f"{name} is also used where nothing can be removed"
            )
            labels = self.labels.find(whole)
        if reads and (pattern := self._excluded(name)) is not None:
            self.labels.pin(labels, f"excluded by {pattern!r}")
        self._join(name, dim, labels)
        self.slots[name, dim].reads |= reads

    def _join(self, name: str, dim: int, labels: LabelArray) -> None:
        if name in self._whole:
            self.labels.pin(labels, self._whole[name])
        slot = self.slots.get((name, dim))
        if (atoms := self._atoms.get(name)) is not None:
            other = tuple(d for d in range(atoms.ndim) if d != dim)
            column = self.labels.tie(atoms, other, f"{name} is used in more than one way").ravel()
            self.labels.unite(column, labels)
        if slot is None:
            self.slots[name, dim] = Slot(np.array(labels))
            return
        self.labels.unite(slot.labels, labels)
        lone = (slot.labels > 0) != (labels > 0)
        reason = f"{name} is also used where nothing can be removed"
        self.labels.pin(np.maximum(slot.labels, labels)[lone], reason)

    def _parameter_labels(self, name: str) -> LabelArray:
        shape = self.tensors[name].shape
        dims = [d for d in range(len(shape)) if (name, d) in self.slots]
        if dims:  # already a weight: its one labelled dim goes on, or nothing can
            if len(dims) == 1:
                column = self.slots[name, dims[0]].labels
                return column.reshape([-1 if d == dims[0] else 1 for d in range(len(shape))])
            for d in dims:
                self.labels.pin(self.slots[name, d].labels, f"{name} is used in more than one way")
            return unlabelled(len(shape))
        size = int(np.prod(shape))
        if size <= 1 or size > _MAX_ATOMS:
            return unlabelled(len(shape))
        if name not in self._atoms:
            self._atoms[name] = self.labels.fresh(size, hard=False).reshape(shape)
            if (pattern := self._excluded(name)) is not None:
                self.labels.pin(self._atoms[name], f"excluded by {pattern!r}")
            if name in self._whole:
                self.labels.pin(self._atoms[name], self._whole[name])
        return self._atoms[name]

    def _excluded(self, name: str) -> str | None:
        module = name.rpartition(".")[0]
        parents = [module.rsplit(".", i)[0] for i in range(module.count(".") + 1)]
        candidates = (name, *parents)
        return next(
            (p for p in self.exclude if any(fnmatch.fnmatch(c, p) for c in candidates)), None
        )
