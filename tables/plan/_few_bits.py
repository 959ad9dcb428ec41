"""Which shapes of linear layers to measure with weights of few bits too."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest

from latprof.errors import UsageError
from latprof.workloads import WEIGHT_BITS, MatMul, Workload

__all__ = ["few_bits"]

#: Rows of few bits over all others: a profile with them takes less than 1.5 times as long.
_SHARE = 0.45


def few_bits(shapes: Sequence[Workload], bits: Sequence[int]) -> list[Workload]:
    """The linear layers among these shapes of a plan, with weights of each of these widths.

    Every width is measured at the same shapes, which are measured in float32 too, so that they can
    be compared row by row. Families take turns, each in the order of its plan; together they are at
    most 45% of ``shapes``.

    Args:
        shapes: of a plan.
        bits: of 2, 4 and 8; none: no shape.

    Raises:
        UsageError: other widths, or no linear layer in float32 among the shapes.

    Example:
        >>> from latprof.tables import few_bits
        >>> few_bits([MatMul(1, 64, 64), MatMul(1, 48, 16), MatMul(1, 32, 8)], (4,))
        [MatMul(m=1, k=64, n=64, batch=1, weights=True, dtype='float32', weight_bits=4)]
    """
    widths = list(dict.fromkeys(bits))
    if not widths:
        return []
    if unknown := [b for b in widths if b not in WEIGHT_BITS]:
        raise UsageError(f"bits are {unknown[0]!r}; expected some of 2, 4, 8")
    families: dict[str, list[MatMul]] = {}
    for w in shapes:
        if isinstance(w, MatMul) and w.weights and w.dtype == "float32" and not w.weight_bits:
            families.setdefault(w.family, []).append(w)
    if not families:
        raise UsageError("bits are of linear layers, and the model has none in float32")
    turns = [w for turn in zip_longest(*families.values()) for w in turn if w is not None]
    most = max(int(_SHARE * len(shapes)) // len(widths), 1)
    return [w.with_weight_bits(b) for w in turns[:most] for b in widths]
