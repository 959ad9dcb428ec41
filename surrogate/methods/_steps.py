"""Where a fitted law jumps: the steps a person sees in its staircase."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from latprof.surrogate._shapes import Floats

__all__ = ["PERIODS", "step_of"]

PERIODS = (4, 8, 16, 32, 64, 128)

#: At a step the law moves this many times what it moves elsewhere.
_CONTRAST = 8.0

#: Steps are looked for up to this count: 32 of the widest.
_MAX_COUNT = 4096

#: Fewer jumps than this are no period.
_REPEATS = 4


def step_of(latency_s: Callable[[Floats], Floats], limit: int) -> int:
    """The distance between jumps along one axis, 1 where the law climbs evenly.

    Args:
        latency_s: counts (N,) to seconds (N,), the other axis held.
        limit: the largest count.

    It is the shortest of PERIODS at three in four of whose multiples the law jumps, up to
    _MAX_COUNT.
    """
    counts = np.arange(1, min(limit, _MAX_COUNT) + 2, dtype=float)
    move = np.abs(np.diff(np.log(latency_s(counts))))  # move[i]: from count i + 1 to i + 2
    move *= counts[:-1]  # so that an even climb counts the same everywhere
    for period in PERIODS:
        at = np.zeros(len(move), dtype=bool)
        at[period - 1 :: period] = True
        if at.sum() < _REPEATS:
            break
        low, high = np.quantile(move[at], 0.25), np.quantile(move[~at], 0.75)
        if low > _CONTRAST * high + 1e-9:
            return period
    return 1
