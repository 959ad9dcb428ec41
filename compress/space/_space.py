"""What may shrink: the graph's channel groups, and what blocks add to them: ranks and weights per
layer, residual blocks."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from torch import Tensor, nn

from latprof.compress.graph import Graph, Group
from latprof.compress.space._blocks import (
    AcceptedNames,
    Block,
    Depth,
    LowRank,
    Prune,
    Quantize,
    Sparse,
    Which,
)
from latprof.compress.space._layers import Layer, weighted_layers
from latprof.compress.space._norms import folded_norms
from latprof.compress.space._reach import chosen_by, refusal
from latprof.compress.space._residual import lies_within, residual_blocks
from latprof.compress.space._vanishing import vanishing
from latprof.errors import UsageError
from latprof.workloads import Conv2d, MatMul, Workload

__all__ = ["Option", "Residual", "Space", "space_of"]

#: Output and input channels, each in the order in which tiles take them.
_Order = tuple[Tensor, Tensor]
#: Layers that a refusal names.
_MOST_REASONS = 3


@dataclass(frozen=True)
class Option:
    """What a block may do to one layer; ``group`` counts the units that are left of it."""

    block: LowRank | Quantize | Sparse
    layer: Layer
    group: Group

    @property
    def n_of_m(self) -> tuple[int, int] | None:
        """(N, M) of a fixed pattern of zeros."""
        return self.block.n_of_m if isinstance(self.block, Sparse) else None

    @property
    def tile(self) -> tuple[int, int]:
        """Output and input channels of one unit of zeros."""
        return (isinstance(self.block, Sparse) and self.block.block) or (1, 1)

    @property
    def weights_per_unit(self) -> int:
        """Weights that one unit of zeros holds."""
        return self.tile[0] * self.tile[1]

    def units(self, weight: Tensor, order: _Order | None = None) -> Tensor:
        """The layer's weight, or a tensor like it, unit by unit: (size, weights_per_unit). A tile
        lies in one place of a kernel, over channels that are neighbors in ``order``."""
        if self.tile == (1, 1):
            return weight.reshape(-1, 1)
        (rows, columns), (out, inner) = self.tile, self.layer.channels
        ordered = self.layer.ordered(weight)
        if order is not None:
            ordered = ordered[order[0]][:, order[1]]
        whole = ordered.reshape(out // rows, rows, inner // columns, columns, -1)
        return whole.permute(0, 2, 4, 1, 3).reshape(self.group.size, -1)

    def per_weight(self, units: Tensor, order: _Order | None = None) -> Tensor:
        """Figures of units (size,) in the shape of the layer's weight."""
        if self.tile == (1, 1):
            return units.view(self.layer.shape)
        (rows, columns), (out, inner) = self.tile, self.layer.channels
        tiles = units.view(out // rows, 1, inner // columns, 1, -1)
        whole = tiles.expand(-1, rows, -1, columns, -1).reshape(out, inner, -1)
        if order is not None:
            whole = whole[order[0].argsort()][:, order[1].argsort()]
        return self.layer.restored(whole)


@dataclass(frozen=True)
class Residual:
    """A residual block that may be dropped; ``group`` has one unit, and may be left with none."""

    path: str
    group: Group

    def holds(self, name: str) -> bool:
        """Whether this module or parameter lies within."""
        return lies_within(name, self.path)


@dataclass(frozen=True)
class Space:
    """A graph and what may be done to it; groups are the graph's, then one per option, then one
    per residual block. No residual block lies within another.

    Args:
        narrow: weights of layers whose inputs may be smaller than they.
        norms: {batch norm: convolution that an exporter folds it into}.
    """

    graph: Graph
    options: tuple[Option, ...] = ()
    residuals: tuple[Residual, ...] = ()
    narrow: tuple[str, ...] = ()
    norms: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @cached_property
    def groups(self) -> tuple[Group, ...]:
        """Of channels, then of options, then of residual blocks, (G,)."""
        of_options = (o.group for o in self.options)
        return (*self.graph.groups, *of_options, *(r.group for r in self.residuals))

    @property
    def sizes(self) -> list[int]:
        """Units of each group, (G,)."""
        return [g.size for g in self.groups]

    @cached_property
    def ranks(self) -> tuple[Option, ...]:
        """Layers that may be factored."""
        return tuple(o for o in self.options if isinstance(o.block, LowRank))

    @cached_property
    def sparse(self) -> tuple[Option, ...]:
        """Layers whose weights may become zeros."""
        return tuple(o for o in self.options if isinstance(o.block, Sparse))

    @cached_property
    def bits(self) -> tuple[Option, ...]:
        """Layers whose weights may have fewer bits."""
        return tuple(o for o in self.options if isinstance(o.block, Quantize))

    def holder(self, name: str) -> int | None:
        """Group of the residual block that this module or parameter lies in."""
        return next((r.group.index for r in self.residuals if r.holds(name)), None)

    def dropped(self, counts: Sequence[int]) -> list[str]:
        """Paths of the residual blocks that are gone at these counts."""
        return [r.path for r in self.residuals if not counts[r.group.index]]

    @cached_property
    def _holders(self) -> dict[int, set[int | None]]:
        """{group: groups of the residual blocks that it has a part in; None is outside of all}"""
        of_graph = {
            g.index: {self.holder(part.name) for part in (*g.readers, *g.writers)}
            for g in self.graph.groups
        }
        return of_graph | {o.group.index: {self.holder(o.layer.path)} for o in self.options}

    def vanished(self, counts: Sequence[int]) -> set[int]:
        """Groups whose units, whatever their count, are all within dropped blocks."""
        return {
            index
            for index, holders in self._holders.items()
            if holders and all(h is not None and not counts[h] for h in holders)
        }

    def widths(self, counts: Sequence[int]) -> list[dict[str, Any]]:
        """Per group that can shrink, its ``group`` name and its units ``before`` and ``after``; a
        residual block is a group of one, and what was in a dropped one is 0."""
        gone = self.vanished(counts)
        return [
            {"group": g.name, "before": g.size, "after": 0 if g.index in gone else count}
            for g, count in zip(self.groups, counts, strict=True)
            if g.prunable
        ]

    def bare(self, counts: Sequence[int]) -> list[Group]:
        """Channel groups that are down to their least, without which the network is cut in two."""
        gone = self.vanished(counts)
        return [
            g
            for g in self.graph.groups
            if g.prunable and counts[g.index] <= g.minimum < g.size and g.index not in gone
        ]

    def pairs(self) -> list[tuple[int, Option, Workload, Workload]]:
        """Per op that may be factored: its position, its option, and at full size the two ops
        that stand for it, (inputs -> rank) and (rank -> outputs)."""
        return [
            (n, option, *_pair(self.graph.ops[n].workload, option.group.size))
            for option in self.ranks
            for n in option.layer.ops
        ]

    def lookups(self) -> list[tuple[Option, MatMul]]:
        """Per embedding that may be factored, the product that its rows then go through, at full
        size."""
        return [
            (o, MatMul(m=o.layer.lookups, k=o.group.size, n=o.layer.shape[1]))
            for o in self.ranks
            if o.layer.lookups
        ]

    def workloads(self, counts: Sequence[int], factored: Sequence[str] = ()) -> list[Workload]:
        """Every op at these counts (G,); the layers named in ``factored`` as two."""
        found = [w for became in self.ops(counts, factored) for w in became]
        for option, product in self.lookups():
            if option.layer.path in factored:
                per_group, stays = self.graph.slices(option.layer.weight, 1)
                width = int(per_group @ np.array(counts[: len(self.graph.groups)])) + stays
                found.append(product.with_channels(counts[option.group.index], width))
        return found

    def ops(self, counts: Sequence[int], factored: Sequence[str] = ()) -> list[list[Workload]]:
        """The same, per op of the original what it has become: none, one, or two."""
        whole = self.graph.workloads(counts[: len(self.graph.groups)])
        became: list[list[Workload]] = [[w] for w in whole]
        for n, option, _, _ in self.pairs():
            if option.layer.path in factored:
                became[n] = list(_pair(whole[n], counts[option.group.index]))
        holders = (self.holder(op.module) for op in self.graph.ops)
        return [
            ops if holder is None or counts[holder] else []
            for ops, holder in zip(became, holders, strict=True)
        ]


def space_of(
    model: nn.Module, trace: Callable[[tuple[str, ...]], Graph], blocks: Sequence[Block]
) -> tuple[Space, list[Block]]:
    """The space, and per group of it the block that it comes from.

    Args:
        trace: graph of the model where the modules given by name or pattern keep their channels.

    Raises:
        UsageError: no block, two of a kind, or a block that finds no layer.
    """
    if not blocks or len({type(b) for b in blocks}) < len(blocks):
        names = ", ".join(type(b).__name__ for b in blocks) or "none"
        raise UsageError(f"blocks are {names}; expected at least one, each kind once")
    prune = next((b for b in blocks if isinstance(b, Prune)), None)
    graph = trace(_names(prune.exclude) if prune else ("*",))
    graph = graph.aligned(prune.divisor) if prune else graph
    layers = weighted_layers(model, graph)
    options: list[Option] = []
    for block in blocks:
        if not isinstance(block, (LowRank, Quantize, Sparse)):
            continue
        named = [layer for layer in layers if chosen_by(block, layer)]
        reached = [layer for layer in named if not refusal(block, layer)]
        if not reached:
            raise UsageError(_nothing_reached(block, named))
        _check_named(block, named)
        for layer in reached:
            options.append(_option(block, layer, len(graph.groups) + len(options)))
    options = vanishing(model, graph, options)
    graph = _whole_groups(graph, options)
    residuals = _residuals(model, graph, blocks, len(graph.groups) + len(options))
    low_rank = {o.layer.weight for o in options if isinstance(o.block, LowRank)}
    for option in options:
        if option.layer.weight in low_rank and not isinstance(option.block, LowRank):
            raise UsageError(
                f"{option.layer.title} is under LowRank and {type(option.block).__name__}; a "
                "product of factors has no zeros and no grid: expected one per layer, see layers="
            )
    of_group = [prune or blocks[0] for _ in graph.groups] + [o.block for o in options]
    of_group += [b for b in blocks if isinstance(b, Depth) for _ in residuals]
    narrow = _narrow(model, layers, graph)
    return Space(graph, tuple(options), residuals, narrow, folded_norms(model)), of_group


def _names(which: Which) -> tuple[str, ...]:
    """Names and patterns; predicates were asked before, see ``named_blocks``."""
    assert not callable(which)
    return which


def _whole_groups(graph: Graph, options: Sequence[Option]) -> Graph:
    """The graph, the channels of layers under N:M or tiles left in whole multiples."""
    multiples: dict[tuple[str, int], int] = {}
    for option in options:
        if option.layer.groups > 1:
            continue  # it loses whole groups
        (rows, columns), weight = option.tile, option.layer.weight
        columns = option.n_of_m[1] if option.n_of_m else columns
        outputs = option.layer.outputs_dim
        multiples |= {(weight, outputs): rows, (weight, 1 - outputs): columns}
    groups = []
    for g in graph.groups:
        every = [1]
        for part in (*g.readers, *g.writers):
            if (multiple := multiples.get((part.name, part.dim))) is not None:
                each = int((part.index >= 0).sum()) // g.size  # channels of each unit
                every.append(multiple // math.gcd(multiple, each))
        divisor = math.lcm(g.divisor, *every)
        if g.prunable and divisor > g.divisor and g.size >= divisor:
            g = dataclasses.replace(g, divisor=divisor, minimum=max(g.minimum, divisor))
        groups.append(g)
    return dataclasses.replace(graph, groups=tuple(groups))


def _residuals(
    model: nn.Module, graph: Graph, blocks: Sequence[Block], index: int
) -> tuple[Residual, ...]:
    """Those that Depth may drop; their groups are numbered from ``index``."""
    depth = next((b for b in blocks if isinstance(b, Depth)), None)
    if depth is None:
        return ()
    paths = residual_blocks(model, graph, _names(depth.layers))
    if not paths:
        raise UsageError(
            f"Depth finds no residual block under {', '.join(_names(depth.layers))}; expected "
            "modules that return their input where their parameters are zero, such as x + f(x)"
        )
    return tuple(
        Residual(path, Group(n, f"{path}/depth", 1, 1, 0, 1, True, "", (), ()))
        for n, path in enumerate(paths, index)
    )


def _nothing_reached(block: LowRank | Quantize | Sparse, named: Sequence[Layer]) -> str:
    """One line on why."""
    name, under = type(block).__name__, ", ".join(_names(block.layers))
    if not named:
        return f"{name} finds no layer under {under}; expected names of layers with weights"
    why = [f"{layer.title}: {refusal(block, layer)}" for layer in named]
    more = f" and {len(why) - _MOST_REASONS} more" if len(why) > _MOST_REASONS else ""
    return f"{name} reaches no layer under {under}: {'; '.join(why[:_MOST_REASONS])}{more}"


def _check_named(block: LowRank | Quantize | Sparse, named: Sequence[Layer]) -> None:
    """Refuse a layer that is asked for by its whole name and cannot be reached."""
    given = _names(block.layers)
    if isinstance(given, AcceptedNames):
        return
    for layer in named:
        if {layer.path, layer.weight} & set(given) and (reason := refusal(block, layer)):
            raise UsageError(
                f"{type(block).__name__} cannot reach {layer.title}: {reason}; "
                "leave it out of layers="
            )


def _narrow(model: nn.Module, layers: Sequence[Layer], graph: Graph) -> tuple[str, ...]:
    """Weights of linear layers, and of convolutions of one place."""
    ops = graph.workloads()
    plain = [
        la
        for la in layers
        if la.ops and not la.whole and type(model.get_submodule(la.path)) in (nn.Linear, nn.Conv2d)
    ]

    def wide(op: Workload) -> bool:
        return isinstance(op, Conv2d) and op.h_out * op.w_out > 1

    return tuple(la.weight for la in plain if not any(wide(ops[n]) for n in la.ops))


def _option(block: LowRank | Quantize | Sparse, layer: Layer, index: int) -> Option:
    """Of a layer that the block reaches."""
    if isinstance(block, LowRank):
        name, size, divisor = f"{layer.title}/rank", layer.full_rank, block.divisor
        minimum = divisor
    elif isinstance(block, Quantize):
        name, size, divisor, minimum = f"{layer.title}/bits", len(block.bits) + 1, 1, 1
    else:
        rows, columns = block.block or (1, 1)
        size, divisor, minimum = math.prod(layer.shape) // (rows * columns), 1, 1
        if block.n_of_m:
            minimum = size * block.n_of_m[0] // block.n_of_m[1]
        name = f"{layer.title}/{'weights' if rows * columns == 1 else 'blocks'}"
    group = Group(index, name, size, 1, minimum, divisor, True, "", (), ())
    return Option(block, layer, group)


def _pair(whole: Workload, rank: int) -> tuple[Workload, Workload]:
    """The two ops that stand for a factored one."""
    if isinstance(whole, MatMul):
        return (
            dataclasses.replace(whole, n=rank),
            dataclasses.replace(whole, k=rank),
        )
    assert isinstance(whole, Conv2d)
    back = Conv2d(whole.h_out, whole.w_out, rank, whole.c_out, batch=whole.batch, dtype=whole.dtype)
    return dataclasses.replace(whole, c_out=rank), back
