"""What may be slow, before it is measured: some nodes, and what to try in their place."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from latprof.pipeline.explaining.graph import Edit

__all__ = ["Candidate", "Option", "op_names"]


@dataclass(frozen=True)
class Option:
    """One thing to try.

    Args:
        advice: in words, in the imperative: ``write them as one HardSwish``.
        apply: changes a copy of the file, or of the slice.
        keeps: whether the outputs stay the same, but for rounding.
        proportion: what the nodes would take of their time if it followed their arithmetic; an
            option that saves no more than that is no advice.
        empties: nothing is left to run, so that there is nothing to measure.
    """

    advice: str
    apply: Callable[[Edit], None]
    keeps: bool = True
    proportion: float = 1.0
    empties: bool = False


@dataclass(frozen=True)
class Candidate:
    """Nodes that may be slow for a reason.

    Args:
        cause: ``channels``, ``dead-branch`` and so on.
        words: what is there, as a sentence without its end.
        nodes: first outputs of the nodes concerned; with their inputs they can run alone.
        options: what to try; the one that saves most is the advice.
    """

    cause: str
    words: str
    nodes: tuple[str, ...]
    options: tuple[Option, ...]


def op_names(nodes: Sequence[Any]) -> str:
    """Kinds of the first nodes, for words."""
    return ", ".join(node.op_type for node in nodes[:4]) or "nothing"
