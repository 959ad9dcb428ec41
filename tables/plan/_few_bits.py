"""Which shapes of linear layers to measure with weights of few bits too."""

from __future__ import annotations

from collections.abc import Sequence

from latprof.errors import UsageError
from latprof.tables.plan._linear_layers import linear_layers, most_of
from latprof.workloads import WEIGHT_BITS, Workload

__all__ = ["few_bits"]


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
        >>> from latprof.workloads import MatMul
        >>> few_bits([MatMul(1, 64, 64), MatMul(1, 48, 16), MatMul(1, 32, 8)], (4,))
        [MatMul(m=1, k=64, n=64, batch=1, weights=True, dtype='float32', weight_bits=4, pattern='')]
    """
    widths = list(dict.fromkeys(bits))
    if not widths:
        return []
    if unknown := [b for b in widths if b not in WEIGHT_BITS]:
        raise UsageError(f"bits are {unknown[0]!r}; expected some of 2, 4, 8")
    layers = linear_layers(shapes, "bits")[: most_of(shapes, len(widths))]
    return [w.with_weight_bits(b) for w in layers for b in widths]
