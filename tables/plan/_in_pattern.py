"""Which shapes of linear layers to measure with weights in a pattern of zeros too."""

from __future__ import annotations

from collections.abc import Sequence

from latprof.errors import UsageError
from latprof.tables.plan._linear_layers import linear_layers, most_of
from latprof.workloads import WEIGHT_PATTERNS, MatMul, Workload

__all__ = ["in_pattern"]

#: Kernels take whole multiples of so many inputs and outputs (torch, NVIDIA's CUTLASS).
_INPUTS, _OUTPUTS = 64, 32


def in_pattern(shapes: Sequence[Workload], patterns: Sequence[str]) -> list[Workload]:
    """The linear layers among these shapes of a plan with weights in each of these patterns, and
    with all weights, to be compared row by row.

    Kernels of 2:4 weights take whole multiples of 64 inputs and 32 outputs; so the layers' numbers
    are rounded up to such. Families take turns, each in the order of its plan; together the rows
    are at most 45% of ``shapes``.

    Args:
        shapes: of a plan.
        patterns: ``2:4``; none: no shape.

    Raises:
        UsageError: another pattern, or no linear layer in float32 among the shapes.

    Example:
        >>> from latprof.tables import in_pattern
        >>> from latprof.workloads import MatMul
        >>> [w.label for w in in_pattern([MatMul(1, 48, 16), MatMul(1, 8, 8)], ("2:4",))]
        ['matmul', 'matmul.2:4']
    """
    if not patterns:
        return []
    if unknown := [p for p in patterns if p not in WEIGHT_PATTERNS]:
        raise UsageError(f"patterns are {unknown[0]!r}; expected '2:4'")
    forms = ("", *dict.fromkeys(patterns))
    layers = dict.fromkeys(map(_rounded_up, linear_layers(shapes, "patterns")))
    return [w.with_pattern(p) for w in list(layers)[: most_of(shapes, len(forms))] for p in forms]


def _rounded_up(w: MatMul) -> MatMul:
    return w.with_channels(-(-w.k // _INPUTS) * _INPUTS, -(-w.n // _OUTPUTS) * _OUTPUTS)
