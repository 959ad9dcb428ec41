"""Training with masks until the network meets its budget (Nasery et al., sections 2 and 3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from latprof.compress.cost import Cost, Latency, named_latencies, space_and_goals
from latprof.compress.graph import Graph
from latprof.compress.masks import MaskOptimizer, Masks, Weights, broadcast, from_first
from latprof.compress.methods import (
    AIM,
    Correction,
    Projection,
    Regularizer,
    Schedule,
    shrunk,
)
from latprof.compress.space import Block, Prune
from latprof.compress.trace import trace

if TYPE_CHECKING:
    from latprof.surrogate import Surrogate

__all__ = ["Compressor"]

#: Memory of the running importance, in steps.
_IMPORTANCE_STEPS = 200
#: Older state dicts call what is trained by these names.
_FORMER_NAMES = {
    "alpha": "masks.alpha",
    "start": "masks.start",
    "last": "masks.last",
    "momentum": "mask_optimizer.momentum",
    "variance": "mask_optimizer.variance",
    "strength": "regularizer.weight",
    "pull": "regularizer.cost_gradient",
    "level": "regularizer.intercept",
    "looked_up": "regularizer.evaluated",
    "taken": "steps_taken",
}


class Compressor(nn.Module):
    """The user's model under masks, trained to a budget in the user's own loop.

    The model's own parameters are trained, and never replaced: masks multiply the parameters
    that read each channel group only while ``forward`` runs. It may be compiled, and wrapped in
    ``DistributedDataParallel``; ``penalty`` and ``step`` are then called on the Compressor itself.
    For example, a network of one hidden layer, brought to half of its MACs::

        import torch
        from latprof import Compressor
        from torch import nn

        model = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 4))
        comp = Compressor(model, torch.zeros(1, 16), None, "macs=50%", steps=100)
        optimizer = torch.optim.AdamW(comp.parameters(), lr=1e-3)
        for _ in range(120):
            x = torch.randn(32, 16)
            y = x[:, :4].argmax(1)
            loss = nn.functional.cross_entropy(comp(x), y) + comp.penalty()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            comp.step()
        small = comp.shrink()

    Afterwards ``latprof.export`` writes ``small``, and ``comp.widths()`` says what went.

    Args:
        model: any traceable module, pre-trained.
        example_inputs: what its forward takes, at the batch size it will be deployed with: a
            tensor, a tuple of positional inputs, or a dict of named ones.
        latency: of the target: a surrogate from ``latprof.fit``, or a ``Latency`` that knows of
            measurements too; {name: either} for several targets; None where no budget is one.
        budget: ``5 ms``, ``60%``, ``macs=50%``, ``params=1.2M``, ``bytes=4MB``, ``NAME=5 ms`` of a
            named target, a number of seconds; or several of them.
        blocks: what may be done to the network, each kind once.
        steps: length of the mask phase, in calls of ``step``; after it the masks are fixed at
            the budget, lambda is 0, and the same loop fine-tunes.

    Attributes:
        model: the user's model; no masks are in its parameters.
        space, goals: the groups of units that may go, and the budgets.
        masks, alpha: one mask per unit, and the same end to end, (N,); 0 is removed.
        importance: running mean of the squared gradient of each unit's scale, (N,).
        steps, steps_taken, fixed: length of the mask phase, how much of it is over, and its end.
        measure: {target: seconds of a shrunk model}; empty where nothing is measured.

    Raises:
        InfeasibleBudgetError: before any training, with what is reachable.
        UsageError: blocks, budgets or steps that cannot be.
        TraceError: the model cannot be traced.
    """

    importance: Tensor
    steps_taken: Tensor
    fixed: Tensor

    def __init__(
        self,
        model: nn.Module,
        example_inputs: Any,
        latency: Surrogate | Latency | Mapping[str, Surrogate | Latency] | None,
        budget: str | float | Sequence[str | float] = "60%",
        *,
        blocks: Sequence[Block] = (Prune(),),
        steps: int = 2000,
    ) -> None:
        super().__init__()
        self._schedule, self.steps = Schedule(steps), steps
        latencies = _of_first_process(named_latencies(latency))
        budgets = [budget] if isinstance(budget, (str, float, int)) else budget
        trace_once = cache(partial(_trace, model, example_inputs))
        space, of_group, goals = space_and_goals(model, trace_once, blocks, latencies, budgets)
        self.space = space
        self.masks = Masks(space, of_group)
        self.model = model
        self.goals = goals
        self.weights = Weights(model, space)
        self.mask_optimizer = MaskOptimizer(len(self.alpha), steps)
        self.regularizer = Regularizer(len(self.alpha))
        self.measure = {n: each.measure for n, each in latencies.items() if each.measure}
        self._projection = Projection(space, goals, self.weights)
        self._original_cost = self.cost_model.feasible_range().original
        self.is_tried = False  # by check_trainable
        self.register_buffer("importance", torch.zeros(len(self.alpha)))
        self.register_buffer("steps_taken", torch.zeros((), dtype=torch.int64))
        self.register_buffer("fixed", torch.zeros((), dtype=torch.bool))
        space.graph.prepare()  # inside torch.compile it is too late

    @property
    def graph(self) -> Graph:
        """The traced model."""
        return self.space.graph

    @property
    def alpha(self) -> nn.Parameter:
        """All masks end to end, (N,)."""
        return self.masks.alpha

    @property
    def cost_model(self) -> Cost:
        """Latency on the first target; without a target, what the first budget is of."""
        return next(iter(self.goals.costs.values()))  # type: ignore[return-value]

    @property
    def cost_unit(self) -> str:
        """Of ``cost``, ``original_cost`` and ``budget_cost``: s, MACs, parameters or bytes."""
        return self.cost_model.unit

    @property
    def original_cost(self) -> float:
        """The original's, in ``cost_unit``: measured where that was given, else predicted."""
        return self._original_cost

    @property
    def budget_cost(self) -> float | None:
        """What ``cost`` may be, in ``cost_unit``; None where only other figures have a budget."""
        of_cost = (g.limit for g in self.goals.each if g.cost is self.cost_model)
        return next(of_cost, None)

    def cost(self) -> float:
        """Predicted of the network as the masks are now, at its true counts, in ``cost_unit``."""
        with torch.no_grad():
            return float(self.cost_model(self.masks.true_counts()))

    def budget_ratio(self, progress: float = 1.0) -> float:
        """Largest cost over its target at this progress to the budgets; met at 1 or less."""
        with torch.no_grad():
            return float(self.goals.ratio(self.masks.true_counts(), progress))

    def scales(self) -> list[Tensor]:
        """Per group, what multiplies each unit where it is read, (size,); 0 is removed."""
        return self.masks.scales()

    def counts(self) -> list[int]:
        """Units left, per group of ``space``."""
        return self.masks.counts()

    def widths(self) -> list[dict[str, Any]]:
        """Per group that can shrink, its units before and after; see ``Space.widths``."""
        return self.space.widths(self.counts())

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the model computes under the masks."""
        return self.weights.run(self.model, self.masks.scales, args, kwargs)

    def penalty(self) -> Tensor:
        """lambda * cost / original cost at the masks' soft counts, (); 0 once they are fixed.

        Add it to the loss once per optimizer step.
        """
        if self.fixed:
            return self.alpha.new_zeros(())
        penalty: Tensor = self.regularizer(self.masks, self.goals)
        return penalty

    @torch.no_grad()
    def step(self) -> None:
        """Move the masks, project them, steer lambda, and fix the masks when their phase ends.

        Call it after ``optimizer.step()`` and before ``zero_grad``. The masks' steps are their own,
        see ``MaskOptimizer``, whatever the user's optimizer and learning rate are.
        """
        grad, masks, schedule = self.alpha.grad, self.masks, self._schedule
        masks.restore()
        if self.fixed or grad is None or not grad.isfinite().all():
            return  # a loss scaler skips steps that overflow, and so do the masks
        self.steps_taken += 1
        step = int(self.steps_taken)
        task_gradient = grad - self.regularizer.gradient()
        latest = (task_gradient * masks.start).square()
        self.importance.lerp_(latest, 1 / min(step, _IMPORTANCE_STEPS))
        if step == schedule.warm_up:
            masks.begin(self.importance)
            self.regularizer.expire()
        elif step > schedule.warm_up:
            progress = schedule.progress(step)
            self.mask_optimizer.step(masks, grad, step - schedule.warm_up)
            if self.regularizer.weight == 0 or schedule.steers(step):
                steerings = self.steps // schedule.steering_interval
                self.regularizer.steer(masks, self.goals, task_gradient, progress, steerings)
            if schedule.projects(step):
                self._project(progress)
                self.regularizer.expire()
        masks.commit()
        if step >= self.steps:
            self.fix()

    @torch.no_grad()
    def fix(self) -> None:
        """End the mask phase: keep the most important units that fit the budgets; lambda is 0.

        With ``measure`` the shrunk model is timed, the cost corrected, and the choice made again,
        until a measurement lies just under the budget; see ``Correction``.
        """
        before = self.alpha.clone()
        correction = Correction(self.goals, self.measure)
        accepted = False
        while not (accepted or correction.ended):
            self.alpha.copy_(before)
            self._project(1.0, AIM)
            self._projection.harden(self.masks)
            accepted = not self.measure or correction.accepts(
                self._shrunk(), self.masks.true_counts(), self.alpha
            )
        if not accepted:
            self.alpha.copy_(correction.best())
        self.masks.commit()
        self.regularizer.weight.zero_()
        self.fixed.fill_(True)

    @torch.no_grad()
    def snapshot(self, progress: float) -> tuple[nn.Module, list[int]]:
        """The network that the masks would leave at this share of the way to the budgets, and its
        unit counts. The masks go on as they were."""
        before = self.alpha.clone()
        try:
            self._project(progress, AIM)
            return self._shrunk(), self.counts()
        finally:
            self.alpha.copy_(before)

    def shrink(self) -> nn.Module:
        """The physically smaller network, of the user's own classes; fixes the masks if need be.

        It computes what ``forward`` computes in eval mode, to float rounding.

        Raises:
            ShrinkError: it does not.
        """
        if not self.fixed:
            self.fix()
        return self._shrunk()

    def _project(self, progress: float, margin: float = 1.0) -> None:
        self._projection(self.masks, self.importance, progress, margin)
        broadcast(self.alpha)  # processes on different machines may round differently
        self.weights.refit(self.model, self.scales())
        self._projection.warn(self.counts())

    def _shrunk(self) -> nn.Module:
        return shrunk(self.model, self.weights, self.goals, self.masks)

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        for former, name in _FORMER_NAMES.items():
            if prefix + former in state_dict:
                state_dict[prefix + name] = state_dict.pop(prefix + former)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


def _trace(model: nn.Module, example_inputs: Any, exclude: tuple[str, ...]) -> Graph:
    return trace(model, example_inputs, exclude=exclude)


def _of_first_process(latencies: dict[str, Latency]) -> dict[str, Latency]:
    """With the measurements of the first of several processes."""
    originals = from_first(partial(_originals, latencies))
    return {n: replace(each, original_s=originals[n]) for n, each in latencies.items()}


def _originals(latencies: dict[str, Latency]) -> dict[str, float | None]:
    return {name: each.original_s for name, each in latencies.items()}
