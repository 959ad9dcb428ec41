"""Which channels to keep: the most important ones whose latency fits the budget.

A knapsack, solved greedily by importance lost per second saved, as in HALP (Shen et al., 2022,
arXiv:2110.10811), over counts at which the device's latency really steps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from latprof.compress._graph import Group

__all__ = ["candidates", "select"]

Floats = npt.NDArray[np.float64]

#: More choices per group than this refine nothing that the re-measuring can see.
_CHOICES = 32


def candidates(group: Group) -> list[int]:
    """The counts a group may have, ascending: multiples of a step, and its full size.

    The step is the group's divisor, doubled while that leaves more than _CHOICES counts: what is
    a multiple of 16 is one of 4 and 8 too, and keeps their fast paths.
    """
    if not group.prunable:
        return [group.size]
    step = group.divisor
    while group.size > _CHOICES * step:
        step *= 2
    least = -(-max(group.minimum, 1) // group.divisor) * group.divisor
    return sorted({min(least, group.size), *range(step, group.size, step), group.size} - set(range(least)))


def select(
    importance: Sequence[Floats],
    candidates: Sequence[Sequence[int]],
    latency_s: Callable[[Floats], float],
    budget_s: float,
) -> list[int]:
    """Counts per group, (G,).

    Args:
        importance: per group, importance of each unit, any order, >= 0.
        candidates: per group, the counts it may have, ascending; the last is where it starts.
        latency_s: seconds for counts (G,).
        budget_s: seconds to stay under.

    Returns:
        Counts with ``latency_s(counts) <= budget_s``, or every group at its first candidate.
    """
    kept = [_value(unit) for unit in importance]
    position = [len(c) - 1 for c in candidates]
    counts = np.array([c[-1] for c in candidates], dtype=np.float64)
    now_s = latency_s(counts)
    while now_s > budget_s:
        best: tuple[float, int, int, float] | None = None
        for group, choices in enumerate(candidates):
            for lower in range(position[group] - 1, max(position[group] - 3, -1), -1):
                trial = counts.copy()
                trial[group] = choices[lower]
                saved_s = now_s - (trial_s := latency_s(trial))
                lost = kept[group][choices[position[group]]] - kept[group][choices[lower]]
                price = lost / max(saved_s, 1e-12)
                if best is None or price < best[0]:
                    best = (price, group, lower, trial_s)
        if best is None:
            break
        _, group, lower, now_s = best
        position[group] = lower
        counts[group] = candidates[group][lower]
    return _refill(counts, position, kept, candidates, latency_s, budget_s)


def _value(importance: Floats) -> Floats:
    """What keeping the best 0..n units of a group is worth, (n + 1,).

    Taylor importances do not add up when most of a group goes, for what is left has to carry
    its work; so a share r of the group's importance costs -log(1 - r) of it, r where r is small.
    """
    total = max(float(importance.sum()), 1e-30)
    share = np.concatenate([[0.0], np.cumsum(np.sort(importance)[::-1])]) / total
    return np.asarray(total * np.log(np.maximum(share, 1e-6)))


def _refill(
    counts: Floats,
    position: list[int],
    kept: Sequence[Floats],
    candidates: Sequence[Sequence[int]],
    latency_s: Callable[[Floats], float],
    budget_s: float,
) -> list[int]:
    """Give back what still fits: the last step down may have overshot."""
    while True:
        best: tuple[float, int] | None = None
        for group, choices in enumerate(candidates):
            if position[group] + 1 < len(choices):
                trial = counts.copy()
                trial[group] = choices[position[group] + 1]
                gained = kept[group][int(trial[group])] - kept[group][int(counts[group])]
                if latency_s(trial) <= budget_s and (best is None or gained > best[0]):
                    best = (gained, group)
        if best is None:
            return [int(c) for c in counts]
        position[best[1]] += 1
        counts[best[1]] = candidates[best[1]][position[best[1]]]
