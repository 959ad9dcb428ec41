"""Layers under Quantize, and widths, that few bits make no faster."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence

import torch

from latprof.compress.cost._cost import LatencyCost
from latprof.compress.cost._few_bits import Unpaid
from latprof.compress.cost._goals import Goals
from latprof.compress.cost._uniform import thinned
from latprof.compress.space import Block, Quantize, Space
from latprof.errors import UsageError

__all__ = ["without_idle_bits"]

_log = logging.getLogger("latprof")

#: Shares of all widths at which a layer is looked up with few bits and without.
_SHARES = (1.0, 0.75, 0.5, 0.25)


def without_idle_bits(blocks: Sequence[Block], space: Space, goals: Goals) -> list[Block]:
    """The blocks, Quantize with the layers and the widths alone that save time on a target. With a
    budget of bytes, or without any budget, all of them serve.

    What is left out is named with what was predicted.

    Raises:
        UsageError: no layer is faster with few bits.
    """
    costs = [g.cost for g in goals.each if isinstance(g.cost, LatencyCost)]
    of_bytes = any(g.budget.kind == "bytes" for g in goals.each)
    if not space.bits or of_bytes or not goals.any:
        return list(blocks)
    rows = torch.tensor([thinned(space, share) for share in _SHARES], dtype=torch.float32)
    paying = {weight for cost in costs for weight in cost.faster_by_few_bits(rows)}
    unpaid = [each for cost in costs for each in cost.few_bits.unpaid(paying)]
    if not paying:
        first = f"; {_lines(unpaid)[0]}" if unpaid else ""
        raise UsageError(
            "Quantize cannot pay here: no layer is predicted to take less time with few bits"
            f"{first}; expected Prune alone, or a budget of bytes like 'bytes=25%'"
        )
    for line in _lines(unpaid):
        _log.warning("Quantize leaves %s", line)
    others = [o.layer.title for o in space.bits if o.layer.weight not in paying]
    others = [name for name in others if name not in {each.layer for each in unpaid}]
    if others:
        _log.warning(
            "Quantize leaves %d layers in float32, for few bits save latency of linear ones alone: "
            "%s", len(others), ", ".join(others),
        )  # fmt: skip
    bits = tuple(sorted({b for cost in costs for b in cost.few_bits.useful_bits()}))
    return [_narrowed(b, paying, bits, space) if isinstance(b, Quantize) else b for b in blocks]


def _narrowed(block: Quantize, paying: set[str], bits: tuple[int, ...], space: Space) -> Quantize:
    if paying != {o.layer.weight for o in space.bits}:
        names = (o.layer.weight for o in space.bits if o.layer.weight in paying)
        block = dataclasses.replace(block, layers=tuple(names))
    if bits != block.bits:
        idle = [b for b in block.bits if b not in bits]
        of_bytes = block.grid == "symmetric" and block.scales in ("tensor", "channel")
        hint = "" if of_bytes or 8 not in idle else "; 8 do with 'symmetric' grids per 'channel'"
        text = ", ".join(map(str, idle))
        _log.warning("Quantize does without %s bits, which save no latency%s", text, hint)
        block = dataclasses.replace(block, bits=bits)
    return block


def _lines(unpaid: Sequence[Unpaid]) -> list[str]:
    """One for each product that is not faster, with the layers that compute it."""
    layers: dict[str, list[str]] = {}
    for each in unpaid:
        layers.setdefault(str(each), []).append(each.layer)
    return [
        f"{', '.join(dict.fromkeys(names))} in float32, no faster with few bits: {text}"
        for text, names in layers.items()
    ]
