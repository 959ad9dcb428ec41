"""The search space and its budgets, without what cannot pay on the target."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from torch import nn

from latprof.compress.cost._budget import Budget
from latprof.compress.cost._goals import Goals
from latprof.compress.cost._idle_bits import without_idle_bits
from latprof.compress.cost._latency import Latency
from latprof.compress.cost._uncounted import check_counted
from latprof.compress.graph import Graph
from latprof.compress.space import (
    Block,
    LowRank,
    Scheme,
    SchemeTarget,
    Space,
    layers_of,
    named_blocks,
    space_of,
)

__all__ = ["chosen_blocks", "space_and_goals"]

_log = logging.getLogger("latprof")


def chosen_blocks(
    model: nn.Module,
    trace: Callable[[tuple[str, ...]], Graph],
    blocks: Sequence[Block] | Scheme,
    latencies: Mapping[str, Latency],
) -> tuple[Block, ...]:
    """The blocks with their layers by name: functions among them see the layers as they are on the
    first target.

    Raises:
        UsageError: a function fails, or accepts nothing.
    """
    first = next(iter(latencies.values()), None)
    surrogate = None if first is None else first.surrogate
    table = getattr(surrogate, "table", None)  # what latprof.fit returns has it
    target = SchemeTarget(None if surrogate is None else surrogate.target, table)
    return named_blocks(blocks, lambda: layers_of(model, trace(()), surrogate), target)


def space_and_goals(
    model: nn.Module,
    trace: Callable[[tuple[str, ...]], Graph],
    blocks: Sequence[Block],
    latencies: Mapping[str, Latency],
    budgets: Sequence[str | float],
    originals: Mapping[str, float] = MappingProxyType({}),
) -> tuple[Space, list[Block], Goals]:
    """The space, the block of each of its groups, and the goals; without the layers that LowRank
    makes dearer at every rank, whose factors would cost training time for nothing, and without
    those that Quantize makes no faster, where no budget is of bytes.

    Where LowRank is all there is and pays nowhere, the goals refuse the budget as out of reach.
    Ops that are in no figure are named, see ``check_counted``.

    Args:
        trace: graph of the model where the modules given by name or pattern keep their channels.
        latencies, budgets, originals: see ``Goals``.

    Raises:
        UsageError: Quantize is asked for a latency, and no layer is faster with few bits.
    """
    space, of_group = space_of(model, trace, blocks)
    check_counted(space.graph, [Budget.parse(text) for text in budgets], latencies)
    goals = Goals(space, latencies, budgets, originals)
    left = _without_idle_ranks(blocks, space, goals)
    left = without_idle_bits(left, space, goals)
    if left == list(blocks):
        return space, of_group, goals
    space, of_group = space_of(model, trace, left)
    return space, of_group, Goals(space, latencies, budgets, originals)


def _without_idle_ranks(blocks: Sequence[Block], space: Space, goals: Goals) -> list[Block]:
    paying = goals.ever_paying()
    idle = [o.layer.path for o in space.ranks if o.layer.path not in paying]
    if not idle:
        return list(blocks)
    _log.warning(
        "LowRank leaves %d of %d layers whole, dearer as two at any rank: %s",
        len(idle), len(space.ranks), ", ".join(idle),
    )  # fmt: skip
    return [
        dataclasses.replace(b, layers=tuple(paying)) if isinstance(b, LowRank) else b
        for b in blocks
        if paying or not isinstance(b, LowRank)
    ]
