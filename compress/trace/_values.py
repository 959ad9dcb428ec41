"""What flows through a graph while its channels are followed: values, slots, ops."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from latprof.compress.trace._labels import LabelArray
from latprof.workloads import Workload

__all__ = ["Call", "Op", "Slot", "Value", "unlabelled"]


def unlabelled(ndim: int) -> LabelArray:
    """The label array of a tensor that no channel touches."""
    return np.zeros((1,) * ndim, dtype=np.int64)


@dataclass
class Value:
    """One tensor of the graph.

    Args:
        shape: its shape as traced.
        labels: see ``_labels``; broadcastable to ``shape``.
        floating: False for indices and masks.
        param: name of the parameter or buffer this is, but for ``perm``, ``window`` and a factor.
        perm: the parameter's dims in this value's order.
        window: {dim of the parameter: (start, stop)} where it is a part of the parameter.
        const: its value, where it depends on no input and no parameter.
        fixed: whether it depends on no input, so that it need not be computed at each call.
        origins: names of the parameters and buffers that a fixed value is computed from.
        source: name of the aten op that made it; ``input`` for an input of the model.
        users: how many ops read it.
        tensor: number of the tensor that it is or views, see ``HeldTensors``; None of what is no
            activation.
    """

    shape: tuple[int, ...]
    labels: LabelArray
    floating: bool = True
    param: str | None = None
    perm: tuple[int, ...] = ()
    window: Mapping[int, tuple[int, int]] = field(default_factory=dict)
    fixed: bool = False
    origins: frozenset[str] = frozenset()
    const: torch.Tensor | None = None
    source: str = ""
    users: int = 1
    tensor: int | None = None

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def span(self, dim: int) -> slice:
        """The part of the parameter's dim ``dim`` that this is."""
        return slice(*self.window.get(dim, (None,)))


@dataclass
class Slot:
    """One dim of one parameter, each of its slices labelled with its channel.

    ``reads`` is True where the parameter's slices multiply the channels of an input, so that a
    mask on the slice is a mask on the channel.
    """

    labels: LabelArray  # (size of the dim,)
    reads: bool = False


@dataclass
class Call:
    """One aten call, its arguments bound to the names of the op's schema."""

    name: str  # conv2d, of aten.conv2d.default
    target: Any
    args: Mapping[str, Any]
    shapes: tuple[tuple[int, ...], ...]  # of its tensor outputs
    floating: tuple[bool, ...]
    module: str  # path of the module whose forward made the call
    dtype: str = "float32"  # of its first floating output, a key of DTYPE_BYTES

    def __getitem__(self, key: str) -> Any:
        return self.args[key]

    def get(self, key: str, default: Any = None) -> Any:
        found = self.args.get(key)
        return default if found is None else found

    @property
    def where(self) -> str:
        """``linear (layers.0.fc)``, for reasons."""
        return f"{self.name} ({self.module})" if self.module else self.name


@dataclass
class Op:
    """One op of the traced model with its workload, at full size.

    ``opaque`` is True where its products cannot be told from shapes.
    """

    name: str
    module: str
    workload: Workload | None
    c_in: LabelArray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    c_out: LabelArray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    opaque: bool = False
