"""Units that are kept or not by a score: all at once, or fewer and fewer (Hoefler et al., 2021)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from latprof.compress.masks import MaskRules, UnitMasks
from latprof.compress.methods._method import MaskedSelection, Method, Parts
from latprof.compress.methods._schedule import Schedule
from latprof.compress.methods._scores import check_score, energies, movement_worth
from latprof.vocabulary import check_number

__all__ = ["Gradual", "OneShot"]

#: Memory of the running Taylor score, in steps.
_MEMORY_STEPS = 200


@dataclass(frozen=True)
class OneShot(Method):
    """Keep the units with the highest scores at once, then fine-tune.

        Compressor(model, example_inputs, None, "macs=50%", method=OneShot(score="taylor"))

    Args:
        score: ``magnitude`` of the weights, needs no data; ``taylor`` and ``movement``, see
            ``Gradual``, are summed up over the first steps.
        warm_up: share of the steps in which ``taylor`` and ``movement`` are learned.

    Raises:
        UsageError: a value that cannot be, by its name.
    """

    score: str = "magnitude"
    warm_up: float = 0.1

    def __post_init__(self) -> None:
        check_score(self.score)
        check_number("warm_up", self.warm_up, least=0.0, most=1.0)

    def start(self, parts: Parts) -> OneShotSelection:
        return OneShotSelection(self, parts)


@dataclass(frozen=True)
class Gradual(Method):
    """Keep fewer and fewer units along the cubic schedule of Zhu & Gupta, 2017 (arXiv:1710.01878):
    1 - (1 - t)^3 of the way to the budget is due at share t of the schedule.

        Compressor(model, example_inputs, None, "params=15%", blocks=[Sparse()],
                   method=Gradual(score="movement"))

    What a projection zeroes returns where its score rises above another's.

    Args:
        score: ``magnitude``, squared norm of the weights that read a unit; ``movement``, the sum
            over steps of -gradient * weight (Sanh et al., 2020, arXiv:2005.07683); ``taylor``,
            running mean of (gradient * weight)^2.
        begin, end: shares of the steps between which units go; the rest is for the weights.

    Raises:
        UsageError: a value that cannot be, by its name.
    """

    score: str = "magnitude"
    begin: float = 0.1
    end: float = 0.8

    def __post_init__(self) -> None:
        check_score(self.score)
        check_number("begin", self.begin, least=0.0, below=1.0)
        check_number("end", self.end, above=self.begin, most=1.0)

    def progress(self, share: float) -> float:
        """Share of the way to the budget that is due at this share of the steps."""
        t = min(max((share - self.begin) / (self.end - self.begin), 0.0), 1.0)
        return float(1 - (1 - t) ** 3)

    def start(self, parts: Parts) -> GradualSelection:
        return GradualSelection(self, parts)


class _Scored(MaskedSelection):
    """Masks of 0 and 1, and a score of each unit.

    Attributes:
        score: of each unit, (N,); not used where weights say it all.
    """

    score: Tensor

    def __init__(self, kind: str, parts: Parts) -> None:
        super().__init__(parts, UnitMasks(parts.space, parts.of_group, MaskRules(init="one")))
        self._kind = kind
        self.register_buffer("score", torch.zeros(0 if kind == "magnitude" else len(self.alpha)))

    def learn(self, grad: Tensor, number: int) -> None:
        """Take the gradient (N,) of one step into the scores."""
        if self._kind == "taylor":
            self.score.lerp_(grad.square(), 1 / min(number, _MEMORY_STEPS))
        elif self._kind == "movement":
            self.score.sub_(grad)

    def importances(self) -> list[Tensor]:
        if self._kind == "magnitude":
            return energies(self.parts)
        worth = movement_worth(self.score) if self._kind == "movement" else self.score
        return self.masks.split(worth)

    def choose(self, progress: float, margin: float, *, final: bool = False) -> None:
        self.project(self.importances(), progress, margin, revived=1.0)


class OneShotSelection(_Scored):
    """What ``OneShot`` holds of one network."""

    def __init__(self, method: OneShot, parts: Parts) -> None:
        super().__init__(method.score, parts)
        share = 0.0 if method.score == "magnitude" else method.warm_up
        self._last = max(1, round(share * parts.steps))

    def step(self, grad: Tensor | None, number: int) -> bool:
        self.masks.restore()
        if grad is None:
            return False
        self.learn(grad, number)
        return number >= self._last


class GradualSelection(_Scored):
    """What ``Gradual`` holds of one network."""

    def __init__(self, method: Gradual, parts: Parts) -> None:
        super().__init__(method.score, parts)
        self._method, self._schedule = method, Schedule(parts.steps, method.begin)

    def step(self, grad: Tensor | None, number: int) -> bool:
        self.masks.restore()
        if grad is None:
            return False
        self.learn(grad, number)
        if number >= self._schedule.warm_up and self._schedule.projects(number):
            self.choose(self._method.progress(number / self.parts.steps), 1.0)
            self.masks.commit()
        return False
