"""Which channels to keep: the most important ones whose latency fits the budget.

A knapsack, solved greedily by importance lost per second saved, as in HALP (Shen et al., 2022,
arXiv:2110.10811), over counts at which the device's latency really steps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

if TYPE_CHECKING:
    from latprof.compress.graph import Group

__all__ = ["Floats", "candidates", "kept_importance", "n_of_m", "select"]

Floats = npt.NDArray[np.float64]

#: More counts per group than this refine nothing that measuring again can see.
_MAX_CANDIDATES = 32
#: Of two neighbors among the least counts of single units.
_RATIO = 2 ** (-1 / 3)


def candidates(group: Group) -> list[int]:
    """The counts a group may have, ascending: multiples of a step, its full size, and below the
    step finer and finer ones down to its least.

    The step is the group's divisor, doubled while that leaves more than _MAX_CANDIDATES counts: a
    multiple of 16 is one of 4 and 8 too, and keeps their fast paths. Below it they are halved, of
    a group of single units three times as finely: of a layer with 400,000 weights a step is 4%,
    and half a percent may be what it keeps.
    """
    if not group.prunable:
        return [group.size]
    step = group.divisor
    while group.size > _MAX_CANDIDATES * step:
        step *= 2
    least = -(-group.minimum // group.divisor) * group.divisor
    found = {min(least, group.size), *range(step, group.size, step), group.size}
    ratio = 0.5 if group.divisor > 1 else _RATIO
    below = step * ratio
    while below > max(least, group.divisor):
        found.add(round(below / group.divisor) * group.divisor)
        below *= ratio
    return sorted(count for count in found if count >= min(least, group.size))


def select(
    kept: Sequence[Floats],
    candidates: Sequence[Sequence[int]],
    cost: Callable[[Floats], Floats],
    budget: float,
    strides: Sequence[Sequence[int]] | None = None,
) -> list[int]:
    """Counts per group, (G,).

    Args:
        kept: per group, the importance that its best 0..n units keep, (n + 1,), see
            ``kept_importance``.
        candidates: per group, the counts it may have, ascending; the last is where it starts.
        cost: (B,) seconds, or another figure, for B rows of counts (B, G).
        budget: the figure to stay under.
        strides: per group, how many candidates a move down may pass; (1, 2) by default.

    Returns:
        Counts with ``cost(counts) <= budget``, or every group at its first candidate.
    """
    strides = [(1, 2)] * len(candidates) if strides is None else strides
    importance = [k[list(c)] for k, c in zip(kept, candidates, strict=True)]
    place = [len(c) - 1 for c in candidates]
    counts = np.array([c[-1] for c in candidates], dtype=np.float64)
    now = float(cost(counts[None])[0])
    while now > budget:
        # One step down, or two at once: the first may lie within one stair of the device.
        moves = [(g, p - d) for g, p in enumerate(place) for d in strides[g] if p >= d]
        if not moves:
            break
        after = cost(_moved(counts, candidates, moves))
        lost = np.array([importance[g][place[g]] - importance[g][to] for g, to in moves])
        best = int(np.argmin(lost / np.maximum(now - after, 1e-12 * now)))
        group, place[group] = moves[best]
        counts[group] = candidates[group][place[group]]
        now = float(after[best])
    while moves := [(g, p + 1) for g, p in enumerate(place) if p + 1 < len(candidates[g])]:
        # Give back what still fits, for the last step down may have overshot.
        fits = cost(_moved(counts, candidates, moves)) <= budget
        if not fits.any():
            break
        gained = np.array([importance[g][to] - importance[g][place[g]] for g, to in moves])
        group, place[group] = moves[int(np.argmax(np.where(fits, gained, -np.inf)))]
        counts[group] = candidates[group][place[group]]
    return [int(c) for c in counts]


def n_of_m(importance: Tensor, n: int, m: int) -> Tensor:
    """(size,) bool: the n most important of every m neighboring inputs that stay, for each output
    and each place of the kernel; of those that do not stay, n of m likewise.

    Args:
        importance: (out, in, area); below 0 where the channel does not stay; in is a multiple of m.
    """
    stays = (importance >= 0).any(2).any(0)  # (in,)
    order = (~stays).to(torch.uint8).argsort(stable=True)
    ordered = importance[:, order].transpose(1, 2)  # (out, area, in)
    grouped = ordered.reshape(*ordered.shape[:2], -1, m)
    best = grouped.argsort(dim=-1, descending=True, stable=True)[..., :n]
    kept = torch.zeros_like(grouped, dtype=torch.bool).scatter_(-1, best, True)
    found = torch.empty_like(importance, dtype=torch.bool)
    found[:, order] = kept.flatten(2).transpose(1, 2)
    return found.flatten()


def _moved(
    counts: Floats, candidates: Sequence[Sequence[int]], moves: Sequence[tuple[int, int]]
) -> Floats:
    """One row of counts per (group, place of its candidate)."""
    rows = np.repeat(counts[None], len(moves), axis=0)
    for row, (group, to) in zip(rows, moves, strict=True):
        row[group] = candidates[group][to]
    return rows


def kept_importance(importance: Floats, *, ordered: bool = False) -> Floats:
    """Importance that the best 0..n units of a group keep, (n + 1,); if ``ordered`` the first n.

    Taylor importances do not add up when most of a group goes, for what is left has to carry
    its work; so a share r of the group's importance costs -log(1 - r) of it, r where r is small.
    A single unit is a residual block: nothing has to carry its work, for its input goes on.
    """
    if len(importance) == 1:
        return np.array([-float(importance[0]), 0.0])
    total = max(float(importance.sum()), 1e-30)
    best = importance if ordered else np.sort(importance)[::-1]
    share = np.concatenate([[0.0], np.cumsum(best)]) / total
    return np.asarray(total * np.log(np.maximum(share, 1e-6)))
