"""Blocks that are chosen by functions: predicates of layers, and whole schemes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from latprof.compress.space._blocks import AcceptedNames, Block, Depth, Predicate, Prune, Which
from latprof.compress.space._layer_info import LayerInfo, Layers
from latprof.errors import UsageError
from latprof.tables import LatencyTable, Payoff
from latprof.vocabulary import Target
from latprof.workloads import Workload

__all__ = ["Scheme", "SchemeTarget", "named_blocks"]


@dataclass(frozen=True)
class SchemeTarget:
    """What a scheme is chosen for.

    Args:
        target: device, runtime and settings; None where no latency is known.
        table: what was measured there, as the surrogate of ``latprof.fit`` has it; None: nothing.
    """

    target: Target | None = None
    table: LatencyTable | None = None

    def pays(self, dtype: str, workload: Workload) -> Payoff:
        """Whether an op takes less time in another type, by measured rows; see
        ``LatencyTable.pays``.

        Args:
            dtype: ``int8``, ``float16`` and so on.
            workload: as ``LayerInfo.workload``.
        """
        if self.table is None:
            return Payoff(
                "unknown", note="no table is known; expected the surrogate of latprof.fit"
            )
        return self.table.pays(dtype, workload)


#: (layers, target) -> blocks.
Scheme = Callable[[Layers, SchemeTarget], Sequence[Block]]


def named_blocks(
    blocks: Sequence[Block] | Scheme, find: Callable[[], Layers], target: SchemeTarget
) -> tuple[Block, ...]:
    """The blocks with their layers by name or pattern: schemes are called, predicates asked.

    Args:
        find: the layers; called once, where a function asks for them.
        target: what a scheme is given.

    Raises:
        UsageError: a function fails, or returns something else; a predicate accepts no layer.
    """
    if not isinstance(blocks, Sequence):
        found = find()
        return tuple(_named(block, found) for block in _called(blocks, found, target))
    if not any(map(_is_asked, blocks)):
        return tuple(blocks)
    found = find()
    return tuple(_named(block, found) for block in blocks)


def _is_asked(block: Block) -> bool:
    return any(callable(getattr(block, name)) for name in _fields(block))


def _fields(block: Block) -> list[str]:
    return [name for name in ("layers", "exclude") if hasattr(block, name)]


def _called(scheme: Scheme, found: Layers, target: SchemeTarget) -> Sequence[Block]:
    name = _name(scheme)
    try:
        blocks = scheme(found, target)
    except Exception as exc:
        raise UsageError(
            f"scheme {name} fails: {type(exc).__name__}: {exc}; expected (layers, target) -> blocks"
        ) from exc
    if isinstance(blocks, Block):
        return (blocks,)
    if not isinstance(blocks, Sequence) or not all(isinstance(b, Block) for b in blocks):
        raise UsageError(
            f"scheme {name} returns {blocks!r:.80}; expected a list of blocks like [Prune()]"
        )
    return blocks


def _named(block: Block, found: Layers) -> Block:
    for name in _fields(block):
        given: Which = getattr(block, name)
        if not callable(given):
            continue
        accepted = [la for la in found if _accepts(block, name, given, la)]
        if isinstance(block, Depth):
            chosen = _whole(found, accepted)
        else:
            chosen = [la.path for la in accepted]
        if not chosen and not isinstance(block, Prune):
            what = "residual block" if isinstance(block, Depth) else "layer"
            raise UsageError(
                f"{type(block).__name__}: {name}={_name(given)} accepts no {what}; "
                "latprof.layers lists them"
            )
        changes: dict[str, Any] = {name: AcceptedNames(chosen)}
        block = dataclasses.replace(block, **changes)
    return block


def _accepts(block: Block, name: str, predicate: Predicate, layer: LayerInfo) -> bool:
    try:
        return bool(predicate(layer))
    except Exception as exc:
        raise UsageError(
            f"{type(block).__name__}: {name}={_name(predicate)} fails at {layer.path}: "
            f"{type(exc).__name__}: {exc}; expected LayerInfo -> bool"
        ) from exc


def _whole(found: Layers, accepted: Sequence[LayerInfo]) -> list[str]:
    """Residual blocks all of whose layers are accepted."""
    left = {la.residual_block for la in found if la not in accepted}
    blocks = dict.fromkeys(la.residual_block for la in accepted)
    return [path for path in blocks if path and path not in left]


def _name(function: object) -> str:
    return str(getattr(function, "__name__", type(function).__name__))
