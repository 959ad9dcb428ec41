"""What measurements of shrunk networks make of a predicted cost."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from latprof.compress.cost import Goal, Goals
from latprof.compress.masks import from_first

__all__ = ["AIM", "MAX_MEASUREMENTS", "Correction", "corrected"]

#: Share of a budget that the masks are chosen for, and the shares of it that a measurement may be.
AIM = 0.9625
LOW, HIGH = 0.95, 0.975
#: Networks that are measured before the best of them is taken.
MAX_MEASUREMENTS = 6
#: A measurement corrects the prediction by this factor at most: a busy machine misleads.
_MAX_STEP = 1.5
#: A factor is taken to change what is measured by no more than this power of it.
_MAX_POWER = 8.0


class Correction:
    """Corrects each target's cost until a network measures just under every budget.

    Args:
        goals: whose costs are corrected, in place.
        measure: per target, seconds of a network.
    """

    def __init__(self, goals: Goals, measure: Mapping[str, Callable[[nn.Module], float]]) -> None:
        self._goals, self._measure = goals, measure
        self._measured: list[tuple[float, Tensor]] = []  # largest share of a budget, the masks
        self._history: dict[str, list[tuple[float, float]]] = {name: [] for name in measure}

    def accepts(self, small: nn.Module, counts: Tensor, alpha: Tensor) -> bool:
        """Whether the network's measured latencies lie just under their budgets; where not, the
        costs are corrected.

        Args:
            small: the network that the masks leave.
            counts: its units, (G,).
            alpha: the masks, (N,).
        """
        checks = [
            self._check(name, from_first(partial(measure, small)), counts)
            for name, measure in self._measure.items()
        ]
        if all(fits for fits, _ in checks):
            return True
        self._measured.append((max(share for _, share in checks), alpha.clone()))
        return False

    def best(self) -> Tensor:
        """Masks (N,) of the slowest network that met its budgets, or of the fastest of all."""
        met = [entry for entry in self._measured if entry[0] <= 1]
        return (max if met else min)(met or self._measured, key=lambda entry: entry[0])[1]

    def _check(self, target: str, measured_s: float, counts: Tensor) -> tuple[bool, float]:
        """Whether a measurement lies just under its budget, and its share of it."""
        goal = self._goals.of(target)
        if goal is None:
            return True, 0.0
        with torch.no_grad():
            predicted_s = float(goal.cost(counts))
        fits, share = _fits(goal, measured_s, predicted_s)
        if not fits:
            history = self._history[target]
            history.append((float(goal.cost.correction), share))
            goal.cost.correction.fill_(corrected(history, predicted_s / goal.limit))
        return fits, share


def _fits(goal: Goal, measured_s: float, predicted_s: float) -> tuple[bool, float]:
    loose = predicted_s < LOW * goal.limit  # another budget is the tighter one
    share = measured_s / goal.limit
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
    power = 1.0
    if len(history) > 1 and history[-2][0] != factor:
        before, measured_before = history[-2]
        power = -math.log(measured / measured_before) / math.log(factor / before)
    step = float((measured / predicted) ** (1 / min(max(power, 1.0), _MAX_POWER)))
    return factor * min(max(step, 1 / _MAX_STEP), _MAX_STEP)
