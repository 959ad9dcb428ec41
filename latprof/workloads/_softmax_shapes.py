"""The workload of a softmax, from its shape and axis; what traces and files share."""

from __future__ import annotations

import math
from collections.abc import Sequence

from latprof.workloads._elementwise import Elementwise

__all__ = ["softmax_workload"]


def softmax_workload(
    shape: Sequence[int], axis: int, channel_axis: int | None = None, *, flat: bool = False
) -> Elementwise:
    """A softmax of ``shape`` over ``axis``, which becomes w whatever the rank.

    Args:
        shape: of the input, at least one dim.
        axis: the dim that sums to one; may count from the end.
        channel_axis: the dim that becomes c; by default the first of two dims beside the axis,
            the second of more: the heads of (batch, heads, queries, keys) and of (batch x heads,
            queries, keys).
        flat: the dims from ``axis`` on are one, as ONNX had it before opset 13.

    Example:
        >>> softmax_workload((8, 49, 64), -1)
        Elementwise(op='softmax', h=49, w=64, c=8, batch=1, dtype='float32')
    """
    axis %= len(shape)
    if flat:
        shape = (*shape[:axis], math.prod(shape[axis:]))
    others = [d for d in range(len(shape)) if d != axis]
    if channel_axis is None and len(others) > 1:
        channel_axis = others[min(len(others) - 2, 1)]
    batch = [d for d in others[:1] if d == 0 and d != channel_axis]
    h = math.prod(shape[d] for d in others if d != channel_axis and d not in batch)
    return Elementwise(
        "softmax",
        h=h,
        w=shape[axis],
        c=1 if channel_axis is None else shape[channel_axis],
        batch=math.prod(shape[d] for d in batch),
    )
