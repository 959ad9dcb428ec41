"""Training a network while a method chooses what of it meets its budget."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from latprof.compress.cost import (
    Budget,
    Cost,
    Latency,
    chosen_blocks,
    named_latencies,
    space_and_goals,
)
from latprof.compress.graph import Graph
from latprof.compress.masks import HostScalar, UnitMasks, Weights, from_first
from latprof.compress.methods import (
    AIM,
    Correction,
    Masks,
    Method,
    Parts,
    Projection,
    Regularizer,
    Schedule,
    shrunk,
)
from latprof.compress.space import Block, Prune, Scheme
from latprof.compress.trace import trace
from latprof.errors import UsageError

if TYPE_CHECKING:
    from latprof.surrogate import Surrogate

__all__ = ["Compressor"]

#: Older state dicts call what is trained by these names.
_FORMER_NAMES = {
    "alpha": "selection.masks.alpha",
    "start": "selection.masks.start",
    "last": "selection.masks.last",
    "momentum": "selection.mask_optimizer.momentum",
    "variance": "selection.mask_optimizer.variance",
    "strength": "selection.regularizer.weight",
    "pull": "selection.regularizer.cost_gradient",
    "level": "selection.regularizer.intercept",
    "looked_up": "selection.regularizer.evaluated",
    "taken": "steps_taken",
    "importance": "selection.importance",
}
#: Modules that were the Compressor's own, and are its selection's.
_FORMER_MODULES = ("masks.", "mask_optimizer.", "regularizer.")
_BLOCKS = (Prune(),)
_MASKS = Masks()


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
        budget: ``5 ms``, ``500/s`` (inputs, at the batch of ``example_inputs``), ``60%``,
            ``macs=50%``, ``params=1.2M``, ``bytes=4MB``, ``memory=20MB``, ``NAME=5 ms`` of a named
            target, a number of seconds; or several of them.
            None, where the method can do without: what the method chooses by itself.
        blocks: what may be done to the network, each kind once; or a function of (layers, target)
            that returns them, see ``latprof.layers`` and ``SchemeTarget``.
        method: how units are chosen.
        measure: what measures a network where a budget is of ``bytes`` or of ``memory``, under
            that name: the bytes of the file that it becomes, or those that it takes on the target.
            The prediction is corrected until a measured network is just under the budget.
        steps: length of the mask phase, in calls of ``step``; after it the masks are fixed at
            the budget, lambda is 0, and the same loop fine-tunes.

    Attributes:
        model: the user's model; no masks are in its parameters.
        space, goals: the groups of units that may go, and the budgets.
        method, selection: how units are chosen, and what it holds of this network.
        ratio_before_fix: largest cost over its budget just before the choice was fixed.
        steps, steps_taken, fixed: length of the mask phase, how much of it is over, and its end.
        measure: {target: seconds of a shrunk model}, and bytes under ``bytes`` and ``memory``;
            empty where nothing is measured.

    Raises:
        InfeasibleBudgetError: before any training, with what is reachable.
        UsageError: blocks, budgets or steps that cannot be, or a block that the method cannot do.
        TraceError: the model cannot be traced.
    """

    steps_taken: Tensor
    fixed: Tensor
    ratio_before_fix: Tensor

    def __init__(
        self,
        model: nn.Module,
        example_inputs: Any,
        latency: Surrogate | Latency | Mapping[str, Surrogate | Latency] | None,
        budget: str | float | Sequence[str | float] | None = "60%",
        *,
        blocks: Sequence[Block] | Scheme = _BLOCKS,
        method: Method = _MASKS,
        steps: int = 2000,
        measure: Mapping[str, Callable[[nn.Module], float]] = MappingProxyType({}),
    ) -> None:
        super().__init__()
        self.steps = Schedule(steps).steps
        self.method = method
        latencies = _of_first_process(named_latencies(latency))
        budgets = [budget] if isinstance(budget, (str, float, int)) else budget or []
        trace_once = cache(partial(_trace, model, example_inputs))
        blocks = chosen_blocks(model, trace_once, blocks, latencies)
        _check(method, blocks, budget)
        kinds = {Budget.parse(text).kind for text in budgets}
        also = {name: of_network for name, of_network in measure.items() if name in kinds}
        originals = {name: from_first(partial(also[name], model)) for name in also}
        space, of_group, goals = space_and_goals(
            model, trace_once, blocks, latencies, budgets, originals
        )
        self.space = space
        self.model = model
        self.goals = goals
        self.weights = Weights(model, space)
        self._projection = Projection(space, goals, self.weights)
        self.selection = method.start(
            Parts(model, space, tuple(of_group), goals, self.weights, self._projection, steps)
        )
        self.measure = {n: each.measure for n, each in latencies.items() if each.measure} | also
        self._original_cost = self.cost_model.feasible_range().original
        self.is_tried = False  # by check_trainable
        self.register_buffer("steps_taken", torch.zeros((), dtype=torch.int64))
        self.register_buffer("fixed", torch.zeros((), dtype=torch.bool))
        self.register_buffer("ratio_before_fix", torch.zeros(()))
        self._fixed, self._steps_taken = HostScalar(), HostScalar()
        space.graph.prepare()  # inside torch.compile it is too late

    @property
    def graph(self) -> Graph:
        """The traced model."""
        return self.space.graph

    @property
    def alpha(self) -> nn.Parameter:
        """What the method trains beside the weights: for most, all masks end to end, (N,)."""
        return self.selection.alpha

    @property
    def masks(self) -> UnitMasks:
        """One mask per unit. Raises AttributeError where the method has none."""
        masks: UnitMasks = self.selection.masks  # type: ignore[assignment]
        return masks

    @property
    def regularizer(self) -> Regularizer:
        """The penalty. Raises AttributeError where the method has none."""
        regularizer: Regularizer = self.selection.regularizer  # type: ignore[assignment]
        return regularizer

    @property
    def importance(self) -> Tensor | None:
        """Of ``Masks``, the running mean of the squared gradient of each unit's scale, (N,)."""
        found: Tensor | None = getattr(self.selection, "importance", None)
        return found

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
            return float(self.cost_model(self.selection.true_counts()))

    def budget_ratio(self, progress: float = 1.0) -> float:
        """Largest cost over its target at this progress to the budgets; met at 1 or less."""
        with torch.no_grad():
            return float(self.goals.ratio(self.selection.true_counts(), progress))

    def scales(self) -> list[Tensor]:
        """Per group, what multiplies each unit where it is read, (size,); 0 is removed."""
        return self.selection.scales()

    def counts(self) -> list[int]:
        """Units left, per group of ``space``."""
        return self.selection.counts()

    def widths(self) -> list[dict[str, Any]]:
        """Per group that can shrink, its units before and after; see ``Space.widths``."""
        return self.space.widths(self.counts())

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the model computes under the masks."""
        return self.weights.run(self.model, self.selection.scales, args, kwargs)

    def penalty(self) -> Tensor:
        """What the method adds to the loss, (): for ``Masks`` lambda * cost / original cost at the
        masks' soft counts. 0 once the choice is fixed.

        Add it to the loss once per optimizer step.
        """
        return self.alpha.new_zeros(()) if self._is_fixed else self.selection.penalty()

    @torch.no_grad()
    def step(self) -> None:
        """Let the method take its step, and fix the choice when its phase ends.

        Call it after ``optimizer.step()`` and before ``zero_grad``. The steps of masks are their
        own, whatever the user's optimizer and learning rate are.
        """
        grad = self.alpha.grad
        number = int(self._steps_taken.of(self.steps_taken))
        if self._is_fixed or grad is None or not grad.isfinite().all():
            self.selection.step(None, number)
            return  # a loss scaler skips steps that overflow, and so does the method
        number += 1
        self._steps_taken.write(self.steps_taken, number)
        if self.selection.step(grad, number) or number >= self.steps:
            self.fix()

    def rate(self) -> float:
        """What the learning rate of the loop is to be multiplied by at this step; 1 for most
        methods."""
        return 1.0 if self._is_fixed else self.selection.rate()

    @torch.no_grad()
    def fix(self, progress: float | None = None) -> None:
        """End the phase: choose the units to keep that fit the budgets; nothing is penalized then.

        With ``measure`` the shrunk model is timed, the cost corrected, and the choice made again,
        until a measurement lies just under the budget; see ``Correction``.

        Args:
            progress: share of the way from the original to the budgets at which the phase ends,
                by prediction alone; None: at the budgets.
        """
        self.ratio_before_fix.fill_(self.budget_ratio(1.0 if progress is None else progress))
        if progress is not None:
            self.selection.choose(progress, 1.0, final=True)
        else:
            self._meet_budgets()
        self.selection.end()
        self._fixed.write(self.fixed, True)

    def _meet_budgets(self) -> None:
        before = self._chosen()
        correction = Correction[list[Tensor]](self.goals, self.measure)
        aim = 1.0 if self.goals.are_exact else AIM
        accepted = False
        while not (accepted or correction.ended):
            self._put_back(before)
            self.selection.choose(1.0, aim, final=True)
            accepted = not self.measure or correction.accepts(
                self._shrunk(), self.selection.true_counts(), self._chosen()
            )
        if not accepted:
            self._put_back(correction.best())

    @torch.no_grad()
    def snapshot(self, progress: float) -> tuple[nn.Module, list[int]]:
        """The network that the masks would leave at this share of the way to the budgets, and its
        unit counts: that of ``fix(progress)``. The masks go on as they were."""
        before = self._chosen()
        self._projection.silent = True
        try:
            self.selection.choose(progress, 1.0, final=True)
            return self._shrunk(), self.counts()
        finally:
            self._projection.silent = False
            self._put_back(before)

    def shrink(self) -> nn.Module:
        """The physically smaller network, of the user's own classes; fixes the masks if need be.

        It computes what ``forward`` computes in eval mode, to float rounding.

        Raises:
            ShrinkError: it does not.
        """
        if not self._is_fixed:
            self.fix()
        return self._shrunk()

    @property
    def _is_fixed(self) -> bool:
        return bool(self._fixed.of(self.fixed))

    def _chosen(self) -> list[Tensor]:
        return [tensor.detach().clone() for tensor in self.selection.chosen()]

    def _put_back(self, before: list[Tensor]) -> None:
        for tensor, value in zip(self.selection.chosen(), before, strict=True):
            tensor.copy_(value)

    def _shrunk(self) -> nn.Module:
        return shrunk(self.model, self.weights, self.goals, self.selection)

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        for former, name in _FORMER_NAMES.items():
            if prefix + former in state_dict:
                state_dict[prefix + name] = state_dict.pop(prefix + former)
        for key in [
            k for k in state_dict if k.startswith(tuple(prefix + m for m in _FORMER_MODULES))
        ]:
            state_dict[f"{prefix}selection.{key.removeprefix(prefix)}"] = state_dict.pop(key)
        state_dict.setdefault(f"{prefix}ratio_before_fix", torch.zeros(()))
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


def _check(method: Method, blocks: Sequence[Block], budget: object) -> None:
    """Refuse what the method cannot do, before anything is traced."""
    name = type(method).__name__
    for block in blocks:
        if reason := method.refusal(block):
            raise UsageError(f"{name} cannot do {type(block).__name__}: {reason}")
    if budget is None and method.needs_budget:
        raise UsageError(f"{name} is given no budget; expected one like '60%'")


def _trace(model: nn.Module, example_inputs: Any, exclude: tuple[str, ...]) -> Graph:
    return trace(model, example_inputs, exclude=exclude)


def _of_first_process(latencies: dict[str, Latency]) -> dict[str, Latency]:
    """With the measurements of the first of several processes."""
    originals = from_first(partial(_originals, latencies))
    return {n: replace(each, original_s=originals[n]) for n, each in latencies.items()}


def _originals(latencies: dict[str, Latency]) -> dict[str, float | None]:
    return {name: each.original_s for name, each in latencies.items()}
