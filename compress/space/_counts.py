"""Differentiable channel counts from masks (Nasery et al., section 3; DeepHoyer, arXiv:1908.09979).

For a mask a of d entries, l1 = sum(a) and l2 = ||a||:

    l1            sum(a)              shrinks every entry; kept for ablation
    l1l2          sqrt(d) * l1 / l2   in [sqrt(d), d]; k equal entries count sqrt(d * k)
    hoyer_square  (l1 / l2) ** 2      in [1, d]; k equal entries count exactly k
"""

from __future__ import annotations

import torch
from torch import Tensor

from latprof.errors import UsageError

__all__ = ["COUNTS", "check_count", "soft_counts"]

#: By name; ``soft_counts`` relies on their order.
COUNTS = ("hoyer_square", "l1", "l1l2")


def check_count(kind: str) -> None:
    """Raises UsageError where ``kind`` is none of COUNTS."""
    if kind not in COUNTS:
        raise UsageError(f"count is {kind!r}; expected one of {', '.join(COUNTS)}")


def soft_counts(alpha: Tensor, segment: Tensor, sizes: Tensor, kind: str | Tensor) -> Tensor:
    """Counts (G,) of all groups at once.

    Args:
        alpha: non-negative masks of all groups, end to end, (sum(sizes),).
        segment: group of each entry of ``alpha``, int64.
        sizes: entries per group, (G,).
        kind: one of COUNTS; or per group its place in COUNTS, (G,).
    """
    l1 = torch.zeros_like(sizes).index_add(0, segment, alpha)
    if kind == "l1":
        return l1
    l2_squared = torch.zeros_like(sizes).index_add(0, segment, alpha.square())
    l2_squared = l2_squared.clamp_min(torch.finfo(alpha.dtype).tiny)
    if kind == "hoyer_square":
        return l1.square() / l2_squared
    l1l2 = sizes.sqrt() * l1 / l2_squared.sqrt()
    if isinstance(kind, Tensor):
        every = torch.stack([l1.square() / l2_squared, l1, l1l2])  # as COUNTS has them
        return every.gather(0, kind[None])[0]
    return l1l2
