"""The traced model: its groups, its ops, and what they cost at any widths."""

from __future__ import annotations

import dataclasses
import fnmatch
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from latprof.compress.graph._groups import CountedOp, Group
from latprof.compress.graph._inputs import Inputs
from latprof.compress.graph._memory_step import MemoryStep
from latprof.compress.graph._rows import GroupRow, group_rows, sentence_of
from latprof.errors import UsageError
from latprof.workloads import Conv2d, Workload

__all__ = ["Graph", "Stats", "multiplied"]


@dataclass(frozen=True)
class Stats:
    """What a model costs, whatever it runs on."""

    macs: int
    params: int
    activation_bytes: int


@dataclass(frozen=True)
class Graph:
    """What ``trace`` found.

    Args:
        groups: every set of channels that can only be removed together, prunable or not.
        ops: in the order in which they run, those that a workload describes.
        shapes: {parameter: its shape}, tied parameters under one name.
        inputs: the example inputs it was traced with.
        name: the model's class.
        unmeasured: {op: how many}: ops that take time and are in no figure, as they have no
            workload. Ops that only move data, and those that need no input, are not among them.
        opaque: those of ``unmeasured`` whose products, if they compute any, cannot be told from
            shapes: higher-order ops (``cond``) and ops of other libraries.
        buffers: names in ``shapes`` that are no parameters.
        grouped: {weight of a grouped convolution or group norm: channels of one group}.
        element_bytes: {parameter or buffer: bytes of each of its values}.
        attributes: {module: {attribute that holds a count of units, or ``attribute[i]`` of a
            tuple: group}}, as ``shrink`` sets them.
        memory: the activations that are held at once, op by op.
        shortcuts: layers that are alone on one side of an addition, beside a longer way.
        lookups: {weight of an embedding: (module, rows that it looks up) per call}.
    """

    groups: tuple[Group, ...]
    ops: tuple[CountedOp, ...]
    shapes: Mapping[str, tuple[int, ...]]
    inputs: Inputs
    name: str
    unmeasured: Mapping[str, int] = field(default_factory=dict)
    opaque: frozenset[str] = frozenset()
    buffers: frozenset[str] = frozenset()
    grouped: Mapping[str, int] = field(default_factory=dict)
    attributes: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    element_bytes: Mapping[str, int] = field(default_factory=dict)
    memory: tuple[MemoryStep, ...] = ()
    shortcuts: frozenset[str] = frozenset()
    lookups: Mapping[str, Sequence[tuple[str, int]]] = field(default_factory=dict)
    _placed: dict[torch.device, list[tuple[str, int, int | Tensor]]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @property
    def prunable(self) -> tuple[Group, ...]:
        return tuple(g for g in self.groups if g.prunable)

    @property
    def uncounted(self) -> str:
        """One sentence on the ops that are in no figure; empty where there are none."""
        return sentence_of(self.unmeasured)

    def rows(self) -> list[GroupRow]:
        """One row per group: channels, shares of MACs and parameters, and what keeps it."""
        return group_rows(self)

    @property
    def sizes(self) -> list[int]:
        """Full counts, (G,)."""
        return [g.size for g in self.groups]

    def configured(self, pattern: str, *, minimum: int = 1, divisor: int = 1) -> Graph:
        """The same graph, keeping at least ``minimum`` units and multiples of ``divisor`` in the
        groups whose name matches ``pattern``.

        Raises:
            UsageError: no group matches, or a group has fewer units than ``minimum``.
        """
        if not any(fnmatch.fnmatch(g.name, pattern) for g in self.groups):
            raise UsageError(f"no group matches {pattern!r}; latprof inspect lists their names")
        return dataclasses.replace(
            self,
            groups=tuple(
                dataclasses.replace(g, minimum=minimum, divisor=divisor)
                if fnmatch.fnmatch(g.name, pattern)
                else g
                for g in self.groups
            ),
        )

    def aligned(self, divisor: int) -> Graph:
        """The same graph with the counts of every prunable group at multiples of ``divisor``,
        where runtimes have their fast paths; a group of fewer than two multiples stays free."""
        groups = tuple(
            dataclasses.replace(g, minimum=max(g.minimum, divisor), divisor=divisor)
            if g.prunable and g.size >= 2 * divisor and divisor % g.divisor == 0
            else g
            for g in self.groups
        )
        return dataclasses.replace(self, groups=groups)

    def workloads(self, counts: Sequence[int] | None = None) -> list[Workload]:
        """One per op, after group g has ``counts[g]`` units; all of them by default."""
        counts = self.sizes if counts is None else self.prepare_counts(counts)
        found = []
        for op in self.ops:
            sides = (
                offset + sum(n * counts[g] for g, n in mixing.items())
                for mixing, offset in zip(op.mixing, op.offset, strict=True)
            )
            found.append(_resized(op.workload, *sides))
        return found

    def channel_map(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """A (N, 2, G) and b (N, 2): op n has A[n] @ counts + b[n] input and output channels."""
        mixing = np.zeros((len(self.ops), 2, len(self.groups)))
        offset = np.array([op.offset for op in self.ops], dtype=np.float64).reshape(-1, 2)
        for n, op in enumerate(self.ops):
            for side in (0, 1):
                for g, per_unit in op.mixing[side].items():
                    mixing[n, side, g] = per_unit
        return mixing, offset

    def slices(self, name: str, dim: int) -> tuple[NDArray[np.float64], int]:
        """Slices of a parameter along a dim: per unit of each group (G,), and how many stay."""
        each = np.zeros(len(self.groups))
        for g in self.prunable:
            for part in (*g.readers, *g.writers):
                if (part.name, part.dim) == (name, dim):
                    each[g.index] += int((part.index >= 0).sum()) // g.size
        return each, self.shapes[name][dim] - int(each @ np.array(self.sizes))

    def stats(self, counts: Sequence[int] | None = None) -> Stats:
        """MACs, parameters and activation bytes at these counts, for the traced batch."""
        counts = self.sizes if counts is None else self.prepare_counts(counts)
        workloads = self.workloads(counts)
        return Stats(
            macs=sum(w.macs for w in workloads),
            params=self._params(counts),
            activation_bytes=sum(w.activation_bytes for w in workloads),
        )

    def prepare_counts(self, counts: Sequence[int]) -> list[int]:
        """Whole counts, one per group, between 1 and its size."""
        if len(counts) != len(self.groups):
            raise UsageError(
                f"{len(counts)} counts for {len(self.groups)} groups; expected one each"
            )
        whole = [int(c) for c in counts]
        for count, given, g in zip(whole, counts, self.groups, strict=True):
            if count != given or not (1 <= count <= g.size) or (not g.prunable and count != g.size):
                least = 1 if g.prunable else g.size
                raise UsageError(
                    f"group {g.name}: count is {given}; expected a whole number "
                    f"from {least} to {g.size}"
                )
        return whole

    def random_counts(self, rng: np.random.Generator, low: float = 0.1) -> list[int]:
        """Counts of a network anywhere between ``low`` of each prunable group's size and all of it.

        A common share is drawn first, and each group's between half and one and a half of it:
        groups drawn by themselves would all make networks of middling size.
        """
        level = rng.uniform(low, 1.0)
        counts = []
        for g in self.groups:
            drawn = round(min(1.0, level * rng.uniform(0.5, 1.5)) * g.size)
            rounded = max(drawn // g.divisor * g.divisor, g.minimum)
            counts.append(rounded if g.prunable else g.size)
        return counts

    def masked(self, params: Mapping[str, Tensor], alphas: Sequence[Tensor]) -> dict[str, Tensor]:
        """What every reader's weight becomes under the masks: weight * alpha.

        Args:
            params: the model's parameters by name.
            alphas: per group, (size,); those of groups that are not prunable are ignored.

        Returns:
            The readers alone, to be given to ``torch.func.functional_call``: the model, its
            parameters and its state dict stay as they are, and gradients reach both.
        """
        return multiplied(params, self.scales(alphas))

    def scales(self, alphas: Sequence[Tensor]) -> dict[tuple[str, int], Tensor]:
        """{(reader, dim): (size of the dim,) what multiplies each slice}."""
        parts = [a for a, g in zip(alphas, self.groups, strict=True) if g.prunable]
        if not parts:
            return {}
        flat: Tensor | None = None  # few graphs need it
        found = {}
        for name, dim, where in self._masks_on(parts[0].device):
            if isinstance(where, int):
                found[name, dim] = parts[where]
            else:
                flat = torch.cat([*parts, parts[0].new_ones(1)]) if flat is None else flat
                found[name, dim] = flat[where]
        return found

    def kept(self, keeps: Sequence[Tensor]) -> dict[tuple[str, int], Tensor]:
        """{(parameter, dim): (size of the dim,) bool}: what is left of every cut parameter."""
        found: dict[tuple[str, int], Tensor] = {}
        for g, keep in zip(self.groups, keeps, strict=True):
            if not g.prunable:
                continue
            for part in (*g.readers, *g.writers):
                whole = torch.ones(self.shapes[part.name][part.dim], dtype=torch.bool)
                left = found.setdefault((part.name, part.dim), whole)
                left &= keep.cpu()[part.index.clamp_min(0)] | (part.index < 0)
        return found

    def norms(self, params: Mapping[str, Tensor], group: Group) -> Tensor:
        """Norm of the weights that read each unit of the group, (size,)."""
        total = torch.zeros(group.size)
        for part in group.readers:
            weight = params[part.name].detach().float().cpu().movedim(part.dim, 0).flatten(1)
            mine = part.index >= 0
            total.index_add_(0, part.index[mine], weight[mine].square().sum(1))
        return total.sqrt()

    def _masks(self) -> list[tuple[str, int, int | Tensor]]:
        """(reader, dim, where its scales are): the place among the prunable groups of the one that
        it reads whole, as most do; else (size of the dim,) positions in all masks, then a 1."""
        found: dict[tuple[str, int], Tensor] = {}
        total = sum(g.size for g in self.prunable)
        start, whole = 0, {}
        for place, g in enumerate(self.prunable):
            positions = torch.arange(start, start + g.size)
            for part in g.readers:
                blank = torch.full((self.shapes[part.name][part.dim],), total)
                index = found.setdefault((part.name, part.dim), blank)
                mine = part.index >= 0
                index[mine] = part.index[mine] + start
                if torch.equal(index, positions):
                    whole[part.name, part.dim] = place
            start += g.size
        return [(name, dim, whole.get((name, dim), i)) for (name, dim), i in found.items()]

    def prepare(self) -> None:
        """Work out now what ``scales`` needs; inside ``torch.compile`` it is too late."""
        self._placed[torch.device("cpu")] = self._masks()

    def _masks_on(self, device: torch.device) -> list[tuple[str, int, int | Tensor]]:
        if not self._placed:
            self.prepare()
        if device not in self._placed:
            self._placed[device] = [
                (name, dim, where if isinstance(where, int) else where.to(device))
                for name, dim, where in self._placed[torch.device("cpu")]
            ]
        return self._placed[device]

    def _params(self, counts: Sequence[int]) -> int:
        """Parameters left, buffers aside."""
        left = {name: list(shape) for name, shape in self.shapes.items()}
        for g, count in zip(self.groups, counts, strict=True):
            for part in (*g.readers, *g.writers):
                per_unit = int((part.index >= 0).sum()) // g.size
                left[part.name][part.dim] -= per_unit * (g.size - count)
        return sum(int(np.prod(left[name])) for name in left if name not in self.buffers)


def multiplied(
    params: Mapping[str, Tensor], scales: Mapping[tuple[str, int], Tensor]
) -> dict[str, Tensor]:
    """Each of the parameters that has scales, times them: {(parameter, dim): (size of the dim,)}"""
    out: dict[str, Tensor] = {}
    for (name, dim), scale in scales.items():
        weight = out.get(name, params[name])
        along = [-1 if d == dim else 1 for d in range(weight.ndim)]
        out[name] = weight * scale.to(weight.dtype).view(along)
    return out


def _resized(workload: Workload, c_in: int, c_out: int) -> Workload:
    """The workload at these counts; a grouped convolution loses whole groups."""
    if isinstance(workload, Conv2d) and workload.groups > 1 and not workload.depthwise:
        groups = workload.groups * c_out // workload.c_out
        return dataclasses.replace(workload, c_in=c_in, c_out=c_out, groups=groups)
    return workload.with_channels(c_in, c_out)
