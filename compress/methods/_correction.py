"""What measurements of shrunk networks make of a predicted cost."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

from latprof.compress.cost import Goal, Goals
from latprof.compress.masks import from_first

__all__ = ["AIM", "MAX_MEASUREMENTS", "Correction", "corrected"]

#: Share of a budget that the masks are chosen for where it is not counted; the shares of it that a
#: measurement may be.
AIM = 0.9625
LOW, HIGH = 0.95, 0.975
#: Networks that are measured in search of one just under the budget; and of one that is under it at
#: all, where these were too slow.
MAX_MEASUREMENTS, MAX_SMALLER = 6, 6
#: A measurement corrects the prediction by this factor at most: a busy machine misleads.
_MAX_STEP = 1.5
#: In search of one under it at all, by this factor at least: the next network must be smaller.
_MIN_STEP = 1.05
#: A factor is taken to change what is measured by no more than this power of it.
_MAX_POWER = 8.0

T = TypeVar("T")


class Correction(Generic[T]):
    """Corrects each target's cost until a network measures just under every budget.

    After MAX_MEASUREMENTS without one, the best under all budgets is taken. Are all above one, the
    networks get smaller until one is not, or MAX_SMALLER more were measured.

    Args:
        goals: whose costs are corrected, in place.
        measure: per target, seconds of a network; under ``bytes``, those of its file.
    """

    def __init__(self, goals: Goals, measure: Mapping[str, Callable[[nn.Module], float]]) -> None:
        self._goals, self._measure = goals, measure
        self._measured: list[tuple[float, T]] = []  # largest share of a budget, the choice
        self._history: dict[str, list[tuple[float, float]]] = {name: [] for name in measure}

    def accepts(self, small: nn.Module, counts: Tensor, choice: T) -> bool:
        """Whether what was measured of the network lies just under its budgets; where not, the
        costs are corrected.

        Args:
            small: the network that the choice leaves.
            counts: its units, (G,).
            choice: what may be taken again in the end; it is kept as it is.
        """
        checks = [
            self._check(name, from_first(partial(measure, small)), counts)
            for name, measure in self._measure.items()
        ]
        if all(fits for fits, _ in checks):
            return True
        self._measured.append((max(share for _, share in checks), choice))
        return False

    @property
    def ended(self) -> bool:
        """Whether no further network is to be measured."""
        tries = len(self._measured)
        return tries >= MAX_MEASUREMENTS + MAX_SMALLER or (
            tries >= MAX_MEASUREMENTS and any(share <= HIGH for share, _ in self._measured)
        )

    def best(self) -> T:
        """The choice of the slowest network clearly under its budgets, or of the fastest: the
        last measurement of a run differs from this one, so what just meets it may yet exceed it."""
        met = [entry for entry in self._measured if entry[0] <= HIGH]
        return (max if met else min)(met or self._measured, key=lambda entry: entry[0])[1]

    def _check(self, target: str, measured: float, counts: Tensor) -> tuple[bool, float]:
        """Whether a measurement lies just under its budget, and its share of it."""
        goal = self._goals.of(target)
        if goal is None:
            return True, 0.0
        with torch.no_grad():
            predicted = float(goal.cost(counts))
        fits, share = _fits(goal, measured, predicted)
        if not fits:
            history = self._history[target]
            history.append((float(goal.cost.correction), share))
            if len(self._measured) + 1 < MAX_MEASUREMENTS:
                factor = corrected(history, predicted / goal.limit)
            else:
                factor = smaller(history)
            goal.cost.correction.fill_(factor)
        return fits, share


def _fits(goal: Goal, measured: float, predicted: float) -> tuple[bool, float]:
    loose = predicted < LOW * goal.limit  # another budget is the tighter one
    share = measured / goal.limit
    return (loose or share >= LOW) and share <= HIGH, share


def corrected(history: Sequence[tuple[float, float]], predicted: float) -> float:
    """The next factor to try: the larger it is, the smaller is the network that fits.

    At first the one with which the last prediction would have been right. But a surrogate is off by
    another part for each network: where a change of the factor has changed the measurement by more
    than that, its next step is as much shorter, or networks too fast and too slow would alternate.

    Args:
        history: (factor, what was measured), in turn; at least one.
        predicted: of the last, with its factor; in the unit of what was measured.
    """
    factor, measured = history[-1]
    power = min(max(_power(history), 1.0), _MAX_POWER)
    step = float((measured / predicted) ** (1 / power))
    return factor * min(max(step, 1 / _MAX_STEP), _MAX_STEP)


def smaller(history: Sequence[tuple[float, float]]) -> float:
    """The next factor to try where no network was fast enough: larger than all before.

    Args:
        history: (factor, share of the budget), in turn; at least one.
    """
    over = min(share for _, share in history) / AIM
    power = min(max(_power(history), 1 / _MAX_POWER), _MAX_POWER)
    step = float(max(over, 1.0) ** (1 / power))
    return max(factor for factor, _ in history) * min(max(step, _MIN_STEP), _MAX_STEP)


def _power(history: Sequence[tuple[float, float]]) -> float:
    """The power of the factor by which the last change of it has divided what is measured."""
    if len(history) < 2 or history[-2][0] == history[-1][0]:
        return 1.0
    (before, measured_before), (factor, measured) = history[-2:]
    return -math.log(measured / measured_before) / math.log(factor / before)
