"""Which shapes of linear layers to measure with weights in a pattern of zeros too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import zip_longest

from latprof.errors import UsageError
from latprof.workloads import WEIGHT_PATTERNS, MatMul, Workload

__all__ = ["in_pattern"]

#: Such rows over all others, those of the same shapes with all weights included.
_SHARE = 0.45
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
        >>> [w.label for w in in_pattern([MatMul(1, 48, 16), MatMul(1, 8, 8)], ("2:4",))]
        ['matmul', 'matmul.2:4']
    """
    if not patterns:
        return []
    if unknown := [p for p in patterns if p not in WEIGHT_PATTERNS]:
        raise UsageError(f"patterns are {unknown[0]!r}; expected '2:4'")
    families: dict[str, list[MatMul]] = {}
    for w in shapes:
        if isinstance(w, MatMul) and w.weights and w.dtype == "float32" and not w.weight_bits:
            k, n = (-(-size // by) * by for size, by in ((w.k, _INPUTS), (w.n, _OUTPUTS)))
            families.setdefault(w.family, []).append(replace(w, k=k, n=n))
    if not families:
        raise UsageError("patterns are of linear layers, and the model has none in float32")
    turns = [w for turn in zip_longest(*families.values()) for w in turn if w is not None]
    forms = ("", *dict.fromkeys(patterns))
    most = max(int(_SHARE * len(shapes)) // len(forms), 1)
    return [w.with_pattern(p) for w in list(dict.fromkeys(turns))[:most] for p in forms]
