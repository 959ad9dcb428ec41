"""Masks that are trained beside the weights (Nasery et al., sections 2 and 3)."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import torch
from torch import Tensor

from latprof.compress.masks import STEPS_OF_MASKS, MaskOptimizer, MaskRules, UnitMasks
from latprof.compress.methods._agreement import Agreement
from latprof.compress.methods._method import MaskedSelection, Method, Parts
from latprof.compress.methods._regularizer import Regularizer
from latprof.compress.methods._schedule import WARM_UP, Schedule
from latprof.compress.methods._scores import check_score, energies, with_equal_totals
from latprof.compress.space import COUNTS
from latprof.errors import UsageError
from latprof.vocabulary import check_number

__all__ = ["Masks", "paper"]

_log = logging.getLogger("latprof")

#: Memory of the running importance, in steps.
_IMPORTANCE_STEPS = 200
_IMPORTANCES = ("taylor", "magnitude", "none")
_INITS = ("", "importance", "one", "uniform")


@dataclass(frozen=True)
class Masks(Method):
    """Masks under a penalty of the cost, projected onto the budget; each part can be switched.

        Compressor(model, example_inputs, surrogate, "60%", method=Masks(importance="magnitude"))

    ``paper()`` switches all parts to what Nasery et al. do.

    Args:
        count: how masks are counted, ``l1l2``, ``hoyer_square`` or ``l1``; empty: as each block
            says.
        init: where they start: ``one``, ``uniform`` in [0, 0.5], ``importance``; empty: as each
            block says.
        in_forward: units are multiplied by their masks, so that a start other than 1 changes the
            network; else by their share of the start.
        steered: lambda follows from how far the cost is from its target; else it is
            ``penalty_weight``.
        penalty_weight: lambda, of the cost as a share of the original's.
        anneal: share of the steps over which lambda rises linearly from 0.
        optimizer: what moves the masks: ``own`` (Adam whose steps suit the length of the phase),
            ``adam`` (its defaults, at a rate that falls as a cosine), ``sgd``, ``user`` (the loop's
            own optimizer, weight decay and all), ``none``.
        lr: rate of ``adam`` and ``sgd``; of ``adam`` some 10 over the number of steps lets a mask
            go from 1 to 0.
        projections: thirty times on the way masks are projected onto what the budget allows then.
        importance: what projections go by: ``taylor``, ``magnitude`` of the weights, or ``none``:
            the masks alone. Of single weights it counts relative to what their layer keeps.
        grow: masks may exceed their start.
        zeros_return: gradients may bring a zero back.
        clip: masks stay at 0 or above.
        keep_zeros: at the end no zero returns, also where the budget leaves room for it.
        warm_up: share of the steps before masks move, in which importances are learned.
        early_stop: end once three projections in a row would leave 99% the same network.

    Raises:
        UsageError: a value that cannot be, by its name.
    """

    count: str = ""
    init: str = ""
    in_forward: bool = False
    steered: bool = True
    penalty_weight: float = 0.0
    anneal: float = 0.0
    optimizer: str = "own"
    lr: float = 1e-3
    projections: bool = True
    importance: str = "taylor"
    grow: bool = False
    zeros_return: bool = False
    clip: bool = True
    keep_zeros: bool = False
    warm_up: float = WARM_UP
    early_stop: bool = False

    def __post_init__(self) -> None:
        check_score(self.count, ("", *COUNTS), "count")
        check_score(self.init, _INITS, "init")
        check_score(self.optimizer, STEPS_OF_MASKS, "optimizer")
        check_score(self.importance, _IMPORTANCES, "importance")
        check_number("penalty_weight", self.penalty_weight, least=0.0)
        check_number("anneal", self.anneal, least=0.0, most=1.0)
        check_number("lr", self.lr, above=0.0)
        check_number("warm_up", self.warm_up, least=0.0, below=1.0)
        if self.steered and self.penalty_weight:
            raise UsageError(
                f"penalty_weight is {self.penalty_weight:g} and steered is true; expected "
                "steered = false beside a weight of one's own"
            )
        if self.early_stop and not self.projections:
            raise UsageError("early_stop compares projections, and projections is false")

    @property
    def needs_budget(self) -> bool:
        return self.steered or self.projections

    def start(self, parts: Parts) -> MaskSelection:
        return MaskSelection(self, parts)


def paper(penalty_weight: float = 1.0, *, init: str = "one", count: str = "l1l2") -> Masks:
    """Masks as in Nasery et al.: lambda is given and rises over 5/7 of the steps, projected Adam
    at its defaults, no projections onto a budget, and zeros are the result. In hundreds of steps
    instead of the paper's 70,000 masks need a higher ``lr`` to reach 0, which a warning says.

    A budget, where one is given, is met at the end by one projection. ``dataclasses.replace``
    changes single parts.

    Args:
        penalty_weight: lambda, of the cost as a share of the original's. The paper chooses it so
            that the penalty is about as large as the loss.
        init: ``one``, or ``uniform`` in [0, 0.5] (App. B).
        count: ``l1l2``, or ``l1`` for the ablation.
    """
    return Masks(
        count=count,
        init=init,
        in_forward=True,
        steered=False,
        penalty_weight=penalty_weight,
        anneal=5 / 7,  # 50,000 of 70,000 steps in App. B.1
        optimizer="adam",
        projections=False,
        importance="none",
        grow=True,
        zeros_return=True,
        keep_zeros=True,
        warm_up=0.0,
    )


class MaskSelection(MaskedSelection):
    """What ``Masks`` holds of one network.

    Attributes:
        importance: running mean of the squared gradient of each unit's scale, (N,).
    """

    importance: Tensor

    def __init__(self, method: Masks, parts: Parts) -> None:
        rules = MaskRules(
            grow=method.grow,
            zeros_return=method.zeros_return,
            signed=not method.clip,
            in_forward=method.in_forward,
            init=method.init,
            count=method.count,
        )
        super().__init__(parts, UnitMasks(parts.space, parts.of_group, rules))
        self.method = method
        reach = method.lr * parts.steps / 2  # as a cosine the rate is halved on average
        if method.optimizer == "adam" and method.init == "one" and reach < 1:
            _log.warning(
                "masks begin at 1, and %d steps of lr %g move them by %.2g at most: none reaches "
                "0, and the budget alone decides; expected an lr of %.1g or more, or more steps",
                parts.steps, method.lr, reach, 10 / parts.steps,
            )  # fmt: skip
        self._schedule = Schedule(parts.steps, method.warm_up)
        total = len(self.alpha)
        self.mask_optimizer = MaskOptimizer(total, parts.steps, method.optimizer, method.lr)
        self.regularizer = Regularizer(total)
        self.register_buffer("importance", torch.zeros(total))
        self.agreement = Agreement(total) if method.early_stop else None

    def penalty(self) -> Tensor:
        value: Tensor = self.regularizer(self.masks, self.parts.goals)
        return value

    def penalty_weight(self) -> float:
        return self.regularizer.penalty_weight

    def step(self, grad: Tensor | None, number: int) -> bool:
        masks, schedule = self.masks, self._schedule
        moved = masks.alpha.clone() if self.method.optimizer == "user" else masks.alpha
        masks.restore()
        if grad is None:
            return False
        task_gradient = grad - self.regularizer.gradient()
        latest = (task_gradient * masks.start).square()
        self.importance.lerp_(latest, 1 / min(number, _IMPORTANCE_STEPS))
        stop = False
        if number == schedule.warm_up:
            masks.begin(self.importance, self.parts.weights.spectra())
            self.regularizer.expire()
        elif number > schedule.warm_up:
            self.mask_optimizer.step(masks, grad, number - schedule.warm_up, moved)
            self._weigh(task_gradient, number)
            if self.method.projections and schedule.projects(number):
                self.choose(schedule.progress(number), 1.0)
                self.regularizer.expire()
                stop = self._agrees()
        masks.commit()
        return stop

    def importances(self) -> list[Tensor]:
        """Taylor: E[(scale * dL/dscale)^2] (Molchanov et al., 2019, arXiv:1906.10771)."""
        masks, kind = self.masks, self.method.importance
        if kind == "none":
            return masks.split((masks.alpha / masks.start).square())
        per_scale = masks.split(self.importance) if kind == "taylor" else energies(self.parts)
        return with_equal_totals(self.parts.projection.weighed(masks, per_scale), self.parts.space)

    def choose(self, progress: float, margin: float, *, final: bool = False) -> None:
        if not self.method.keep_zeros:
            super().choose(progress, margin, final=final)
            return
        zero = self.alpha == 0
        if self.parts.goals.ratio(self.true_counts(), progress, margin) > 1:
            super().choose(progress, margin)
            self.alpha.masked_fill_(zero, 0.0)
        if final:
            self.parts.projection.harden(self.masks)

    def end(self) -> None:
        super().end()
        self.regularizer.weight.zero_()

    def _weigh(self, task_gradient: Tensor, number: int) -> None:
        """Lambda for the next step."""
        regularizer, schedule, masks = self.regularizer, self._schedule, self.masks
        due = schedule.steers(number)
        if self.method.steered:
            if regularizer.penalty_weight == 0 or due:
                soft = masks.soft_counts(masks.alpha / masks.start, "hoyer_square")
                progress = schedule.progress(number)
                regularizer.steer(
                    soft, self.parts.goals, task_gradient, progress, schedule.steerings
                )
            return
        rising = self.method.anneal * (self.parts.steps - schedule.warm_up)
        share = min(1.0, (number - schedule.warm_up) / rising) if rising else 1.0
        regularizer.fix(self.method.penalty_weight * share)
        if due:
            regularizer.expire()

    def _agrees(self) -> bool:
        """Whether projections onto the budget itself have settled on one network."""
        if self.agreement is None:
            return False
        before = self.alpha.clone()
        self.choose(1.0, 1.0)
        agreed = self.agreement.see(self.alpha != 0)
        self.alpha.copy_(before)
        self.parts.weights.refit(self.parts.model, self.scales())
        return agreed
