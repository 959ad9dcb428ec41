"""Workloads as arrays: what the latency laws read, and nothing else."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from latprof.workloads import (
    DTYPE_BYTES,
    WEIGHT_BLOCK,
    Attention,
    Conv2d,
    Elementwise,
    MatMul,
    Pool,
    Workload,
)

__all__ = ["Floats", "Shapes", "Timed", "by_family", "by_label"]

Floats = NDArray[np.float64]

#: Of a kernel wider than this, so many taps stand for all.
_MAX_TAPS = 4096

#: Outputs along each axis that Winograd's algorithm makes at once of a 3x3 kernel.
_BLOCK = 4

_CONSTANTS = (
    "m_in", "m_out", "depth", "groups", "read", "weights", "inside", "met", "blocks",
    "width", "batch", "one_axis", "columns",
)  # fmt: skip


@dataclass(frozen=True)
class Shapes:
    """N ops of one label as columns of length N.

    Args:
        family: the workloads' families; rows of one family differ in channel counts only.
        c_in, c_out: channel counts.
        m_in, m_out: elements read and written per channel: batch x pixels, or rows of a matmul.
        depth: terms of the dot product per input channel and group: kernel area; 0 where nothing
            is contracted.
        groups: of a grouped convolution; the channel count where channels are contracted apart.
        read: activation elements read per position and input channel (2 for ``add``).
        weights: elements of the second operand per (c_in x c_out / groups); of weights of few
            bits, as many as have their bytes.
        inside: part of the products that multiply the map and not its padding.
        met: part of the weights that meet the map at all: of a 3x3 kernel on a 1x1 map a ninth.
        blocks: positions of a k x k convolution's output in whole blocks of 4x4, as Winograd's
            algorithm computes them, over those that there are; 1 for what it does not compute.
        width: bytes per element.
        batch: items per call, where it is no channel axis.
        one_axis: 1 where an output channel is made from its own input channel alone, else 0.
        columns: of the matrix that each channel is, where channels are matrix products of their
            own (batched matmul); else 0.
    """

    family: NDArray[np.object_]
    c_in: Floats
    c_out: Floats
    m_in: Floats
    m_out: Floats
    depth: Floats
    groups: Floats
    read: Floats
    weights: Floats
    inside: Floats
    met: Floats
    blocks: Floats
    width: Floats
    batch: Floats
    one_axis: Floats
    columns: Floats

    def __len__(self) -> int:
        return len(self.c_in)

    def __getitem__(self, rows: NDArray[np.intp] | NDArray[np.bool_] | slice) -> Self:
        return type(self)(*(getattr(self, f.name)[rows] for f in fields(self)))

    @classmethod
    def joined(cls, parts: Sequence[Shapes]) -> Self:
        """The ops of all parts, one part after the other."""
        return cls(*(np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(cls)))

    def with_counts(self, counts: Floats) -> Self:
        """The same ops at other counts (N, 2)."""
        depthwise = (self.one_axis > 0) & (self.depth > 0)
        groups = np.where(depthwise, counts[:, 1], self.groups)
        return replace(self, c_in=counts[:, 0], c_out=counts[:, 1], groups=groups)

    @property
    def tied(self) -> bool:
        """True where the rows, all of one label, have one channel axis only."""
        return bool(self.one_axis.all())

    @classmethod
    def of(cls, workloads: Sequence[Workload]) -> Self:
        """Columns of these workloads; one pass per distinct family."""
        counts = np.array([w.channels for w in workloads], dtype=float).reshape(-1, 2)
        columns = np.empty((len(_CONSTANTS), len(workloads)))
        names = np.empty(len(workloads), dtype=object)
        for name, rows in by_family(workloads).items():
            names[rows] = name
            columns[:, rows] = _constants(workloads[rows[0]], counts[rows, 1])
        return cls(names, counts[:, 0], counts[:, 1], *columns)

    @classmethod
    def at(cls, member: Workload, c_in: Floats, c_out: Floats) -> Self:
        """The member's family at these counts; no Workload is built, so counts may be thousands."""
        columns = _constants(member, c_out)
        names = np.full(len(c_in), member.family, dtype=object)
        return cls(names, c_in.astype(float), c_out.astype(float), *columns)

    @property
    def products(self) -> tuple[Floats, Floats, Floats]:
        """How many matrix products a call is, and the rows and columns of what each makes."""
        apart = self.columns > 0
        columns = np.where(apart, self.columns, self.c_out)
        rows = np.where(apart, self.m_out / np.maximum(self.columns, 1), self.m_out)
        return np.where(apart, self.c_out, 1.0), rows, columns

    @property
    def macs(self) -> Floats:
        return self.m_out * self.c_out * self.c_in * self.depth / self.groups

    @property
    def weight_bytes(self) -> Floats:
        """Of the weights that meet the map."""
        return self.met * self.weights * self.c_in * self.c_out / self.groups * self.width

    @property
    def in_bytes(self) -> Floats:
        return self.m_in * self.c_in * self.read * self.width

    @property
    def activation_bytes(self) -> Floats:
        return self.in_bytes + self.out_bytes

    @property
    def touched_bytes(self) -> Floats:
        """All that a call reads and writes."""
        return self.weight_bytes + self.activation_bytes

    @property
    def out_bytes(self) -> Floats:
        return self.m_out * self.c_out * self.width


def _constants(w: Workload, c_out: Floats) -> Floats:
    """What ``w``'s family has beside its counts, in the order of _CONSTANTS: (13, len(c_out))."""
    batch = 1 if "batch" in w.channel_fields else w.batch
    columns_apart = w.n if isinstance(w, MatMul) and not w.weights else 0
    columns_apart = w.head_dim if isinstance(w, Attention) else columns_apart
    sizes = (DTYPE_BYTES[w.dtype], batch, w.tied, columns_apart)
    rows = [*_per_family(w), *_on_the_map(w), _in_blocks(w), *sizes]
    columns = np.repeat(np.array(rows, dtype=float)[:, None], len(c_out), axis=1)
    if w.tied and columns[_CONSTANTS.index("depth"), 0] > 0:
        columns[_CONSTANTS.index("groups")] = c_out
    return columns


def _per_family(w: Workload) -> tuple[float, float, float, float, float, float]:
    if isinstance(w, Conv2d):
        area = w.kernel**2
        return w.batch * w.h * w.w, w.batch * w.h_out * w.w_out, area, w.groups, 1, area
    if isinstance(w, MatMul):
        if not w.weights:  # one matrix product per channel, like a depthwise convolution
            return w.m * w.k + w.k * w.n, w.m * w.n, w.k, 1, 1, 0
        return w.batch * w.m, w.batch * w.m, 1, 1, 1, _weight_share(w)
    if isinstance(w, Attention):  # of a head: two products, as one of the keys that a query sees
        out = w.batch * w.queries * w.head_dim
        read = 1 + 2 * w.keys_read / (w.queries * w.heads_per_kv)
        return out, out, 2 * w.pairs / w.queries, 1, read, 0
    if isinstance(w, Pool):
        return w.batch * w.h * w.w, w.batch * w.h_out * w.w_out, 0, 1, 1, 0
    if isinstance(w, Elementwise):
        positions = w.batch * w.h * w.w
        return positions, positions, 0, 1, 2 if w.op in ("add", "mul") else 1, 0
    raise TypeError(f"no shape columns for {type(w).__name__}")


def _weight_share(w: MatMul) -> float:
    """Bytes of a weight, its part of a scale included, over those of an activation."""
    if w.pattern:
        return (w.with_channels(w.k, 1).weight_bytes / DTYPE_BYTES[w.dtype] - 1) / w.k
    if not w.weight_bits:
        return 1.0
    return (w.weight_bits / 8 + DTYPE_BYTES[w.dtype] / WEIGHT_BLOCK) / DTYPE_BYTES[w.dtype]


def _on_the_map(w: Workload) -> tuple[float, float]:
    """(inside, met) of Shapes."""
    if not isinstance(w, Conv2d):
        return 1.0, 1.0
    axes = [_taps(size, out, w) for size, out in ((w.h, w.h_out), (w.w, w.w_out))]
    inside, met = np.prod(axes, axis=0)
    return float(inside), float(met)


def _in_blocks(w: Workload) -> float:
    """Blocks of Shapes."""
    if not isinstance(w, Conv2d) or w.kernel == 1 or (w.stride, w.dilation, w.groups) != (1, 1, 1):
        return 1.0
    return math.prod(-(-size // _BLOCK) * _BLOCK / size for size in (w.h_out, w.w_out))


def _taps(size: int, out: int, w: Conv2d) -> tuple[float, float]:
    """Along one axis, the parts of (position, tap) pairs and of taps that lie on the map."""
    taps = np.unique(np.linspace(0, w.kernel - 1, min(w.kernel, _MAX_TAPS)).round())
    offset = taps * w.dilation - w.padding
    # Of a tap, the first and the last position at which it lies on the map.
    first = np.clip(np.ceil(-offset / w.stride), 0, out)
    last = np.clip(np.floor((size - 1 - offset) / w.stride), -1, out - 1)
    on = np.maximum(last - first + 1, 0)
    return float(on.mean() / out), float((on > 0).mean())


#: Ops of one label, and the seconds that each took, (N,).
Timed = tuple[Shapes, Floats]


def by_label(workloads: Sequence[Workload]) -> dict[str, list[int]]:
    """label -> positions of its ops."""
    return _positions(w.label for w in workloads)


def by_family(workloads: Sequence[Workload]) -> dict[str, list[int]]:
    """family -> positions of its ops."""
    return _positions(w.family for w in workloads)


def _positions(names: Iterable[str]) -> dict[str, list[int]]:
    groups: dict[str, list[int]] = {}
    for row, name in enumerate(names):
        groups.setdefault(name, []).append(row)
    return groups
