"""The linear layers among a plan's shapes, which other forms of their weights are measured of."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest

from latprof.errors import UsageError
from latprof.workloads import MatMul, Workload

__all__ = ["linear_layers", "most_of"]

#: Rows of other forms over all others: a profile with them takes less than 1.5 times as long.
_SHARE = 0.45


def linear_layers(shapes: Sequence[Workload], asked: str) -> list[MatMul]:
    """Those in float32 with all of their weights; families take turns, each in the order of its
    plan.

    Args:
        asked: what is to be measured of them, for the message.

    Raises:
        UsageError: there are none.
    """
    families: dict[str, list[MatMul]] = {}
    for w in shapes:
        if isinstance(w, MatMul) and w.weights and w.label == "matmul":
            families.setdefault(w.family, []).append(w)
    if not families:
        raise UsageError(f"{asked} are of linear layers, and the model has none in float32")
    return [w for turn in zip_longest(*families.values()) for w in turn if w is not None]


def most_of(shapes: Sequence[Workload], forms: int) -> int:
    """How many layers may be measured in so many forms each beside these shapes."""
    return max(int(_SHARE * len(shapes)) // forms, 1)
