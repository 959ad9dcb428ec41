"""Which layers a block reaches, and why it does not reach the others."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from latprof.compress.graph import Graph
from latprof.compress.space._blocks import Block, LowRank, Prune, Quantize, Sparse
from latprof.compress.space._layers import Layer, lone_parameters, weighted_layers

__all__ = ["Unreached", "chosen_by", "refusal", "unreached"]

#: What ``latprof inspect`` asks of each layer.
_ASKED = (LowRank(), Sparse(), Sparse(pattern="2:4"), Quantize())


@dataclass(frozen=True)
class Unreached:
    """A layer that a block leaves as it is.

    Args:
        block: its name, with its pattern where it has one: ``LowRank``, ``Sparse 2:4``.
        layer: module, or parameter where the module has several.
        reason: why.
    """

    block: str
    layer: str
    reason: str

    def __str__(self) -> str:
        return f"{self.block}: {self.layer}: {self.reason}"


def name_of(block: Block) -> str:
    """What users call a block."""
    pattern = f" {block.pattern}" if isinstance(block, Sparse) and block.is_patterned else ""
    return type(block).__name__ + pattern


def chosen_by(block: LowRank | Quantize | Sparse, layer: Layer) -> bool:
    """Whether the block's ``layers`` name it; predicates were asked before."""
    assert not callable(block.layers)
    return any(
        fnmatch.fnmatch(name, pattern)
        for pattern in block.layers
        for name in {layer.path, layer.weight}
    )


def refusal(block: LowRank | Quantize | Sparse, layer: Layer) -> str:
    """Why the block cannot change this layer; empty where it can."""
    if isinstance(block, LowRank):
        if layer.whole:
            return layer.whole
        if layer.full_rank < 2 * block.divisor:
            return f"its rank is {layer.full_rank}; expected at least twice divisor={block.divisor}"
        return ""
    if isinstance(block, Quantize) or not block.is_patterned:
        return ""
    return _of_pattern(block, layer)


def _of_pattern(block: Sparse, layer: Layer) -> str:
    if layer.kind in ("embedding", "bilinear"):
        return "patterns are for products of matrices; unstructured reaches it"
    out, inner = layer.channels
    if block.n_of_m:
        _, m = block.n_of_m
        if layer.groups > 1 and inner == 1:
            return "depthwise convolution has one input channel per group"
        each = " per group" if layer.groups > 1 else ""
        return f"{inner} input channels{each} are no multiple of {m}" if inner % m else ""
    rows, columns = block.block or (1, 1)
    each = " per group" if layer.groups > 1 else ""
    if out // layer.groups % rows:
        return f"{out // layer.groups} output channels{each} are no multiple of {rows}"
    return f"{inner} input channels{each} are no multiple of {columns}" if inner % columns else ""


def unreached(
    model: nn.Module, graph: Graph, blocks: Sequence[Block] = _ASKED
) -> tuple[Unreached, ...]:
    """Every weight that one of the blocks leaves as it is, and why; those that its ``layers`` do
    not name are not among them.

    Args:
        model: the one that ``graph`` was traced from.
        graph: from ``trace``.
        blocks: each on its own; those that the question does not concern are passed over.
    """
    found = []
    asked = [b for b in blocks if isinstance(b, (LowRank, Quantize, Sparse))]
    layers = weighted_layers(model, graph)
    for block in asked:
        named = (layer for layer in layers if chosen_by(block, layer))
        reasons = ((layer.title, refusal(block, layer)) for layer in named)
        found += [Unreached(name_of(block), title, why) for title, why in reasons if why]
    if asked or not any(isinstance(b, Prune) for b in blocks):
        found += [
            Unreached("all blocks but Prune", *each)
            for each in lone_parameters(model, graph).items()
        ]
    return tuple(found)
