"""Layers that a weight of 0 bits is left to: those within residual blocks."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import nn

from latprof.compress.graph import Graph
from latprof.compress.space._blocks import Quantize
from latprof.compress.space._residual import lies_within, residual_blocks
from latprof.errors import UsageError

if TYPE_CHECKING:
    from latprof.compress.space._space import Option

__all__ = ["vanishing"]


def vanishing(model: nn.Module, graph: Graph, options: Sequence[Option]) -> list[Option]:
    """The options, a weight of 0 bits left to layers within residual blocks.

    Raises:
        UsageError: a Quantize has 0 bits, and none of its layers lies within one.
    """
    wanted = [o for o in options if isinstance(o.block, Quantize) and 0 in o.block.bits]
    if not wanted:
        return list(options)
    paths = residual_blocks(model, graph)
    outside = {
        o.group.index for o in wanted if not any(lies_within(o.layer.path, path) for path in paths)
    }
    if len(outside) == len(wanted):
        raise UsageError(
            "Quantize has 0 among its bits, and none of its layers lies in a residual block: "
            "without one of them the network is cut in two; expected widths from 1 on"
        )
    return [
        dataclasses.replace(o, group=dataclasses.replace(o.group, minimum=2))
        if o.group.index in outside
        else o
        for o in options
    ]
