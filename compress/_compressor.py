"""Training with masks until the network meets its budget (Nasery et al., sections 2 and 3)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from latprof.compress.cost import Cost, Goal, Goals, settle
from latprof.compress.graph import Graph
from latprof.compress.masks import Weights, agreed, share
from latprof.compress.methods import Projection, corrected, ramp, steer
from latprof.compress.shrink import shrink
from latprof.compress.space import COUNTS, Block, Prune, soft_counts, space_of
from latprof.compress.trace import trace
from latprof.errors import UsageError

if TYPE_CHECKING:
    from latprof.surrogate import Surrogate

__all__ = ["Compressor"]

Measure = Callable[[nn.Module], float]

#: Share of the mask phase that only watches, with lambda = 0, to learn each channel's importance.
_WARM = 0.1
#: Where lambda starts: the penalty's pull on the masks is this share of the task's.
_FIRST_PULL = 0.1
#: Sum of the masks' steps over the whole mask phase; masks start at 1 on average.
_REACH = 5.0
_BETA1, _BETA2 = 0.9, 0.99
#: Memory of the running importance, in steps.
_MEMORY = 200
#: Times in the mask phase that the masks are projected onto the latency wanted by then.
_PROJECTIONS = 30
#: Times that lambda is steered.
_STEERINGS = 300
#: A measured latency this far below the budget is as good as it gets.
_LOW, _AIM, _HIGH = 0.95, 0.9625, 0.975
_CORRECTIONS = 6


class Compressor(nn.Module):
    """The user's model under masks, in the user's own loop.

        comp = Compressor(model, example_inputs, surrogate, budget="60%", steps=2000)
        for x, y in loader:
            loss = criterion(comp(x), y) + comp.penalty()
            loss.backward()
            optimizer.step()
            comp.step()
            optimizer.zero_grad()
        small = comp.shrink()

    The model's own parameters are trained, and never replaced: masks multiply the parameters
    that read each channel group only while ``forward`` runs. It may be compiled, and wrapped in
    ``DistributedDataParallel``; ``penalty`` and ``step`` are then called on the Compressor itself.

    Args:
        model: any traceable module, pre-trained.
        example_inputs: what its forward takes, at the batch size it will be deployed with: a
            tensor, a tuple of positional inputs, or a dict of named ones.
        surrogate: latency of the target's ops, from ``latprof.surrogate.fit``; {name: surrogate}
            for several targets; None where no budget is a latency.
        budget: ``5 ms``, ``60%``, seconds, ``macs=50%``, ``params=1.2M``, ``bytes=4MB``,
            ``NAME=5 ms`` of a named target; or several of them.
        blocks: what may be done to the network, each kind once.
        steps: length of the mask phase, in calls of ``step``; after it the masks are fixed at
            the budget, lambda is 0, and the same loop fine-tunes.
        original_s: the original's measured latency; else the surrogate's prediction. A share is
            a share of it. {name: seconds} for several targets.
        measure: seconds of a shrunk model on the target. Called a few times when the masks are
            fixed, so that the budget is met by measurement, not by prediction. {name: callable}
            for several targets. Of several processes the first measures.
        int8: what the file to deploy has in int8, as ``Int8Export.choice`` says; its ops are then
            looked up as int8 ones. None for a float32 file.

    Raises:
        InfeasibleBudgetError: before any training, with what is reachable.
    """

    start: Tensor
    last: Tensor
    momentum: Tensor
    variance: Tensor
    importance: Tensor
    strength: Tensor
    pull: Tensor
    level: Tensor
    looked_up: Tensor
    taken: Tensor
    fixed: Tensor
    sizes: Tensor
    minima: Tensor
    segment: Tensor
    free: Tensor
    kinds: Tensor

    def __init__(
        self,
        model: nn.Module,
        example_inputs: Any,
        surrogate: Surrogate | Mapping[str, Surrogate] | None,
        budget: str | float | Sequence[str | float] = "60%",
        *,
        blocks: Sequence[Block] = (Prune(),),
        steps: int = 2000,
        original_s: float | Mapping[str, float] | None = None,
        measure: Measure | Mapping[str, Measure] | None = None,
        int8: str | None = None,
    ) -> None:
        super().__init__()
        if steps < 1:
            raise UsageError(f"steps is {steps}; expected at least 1")
        self.steps, self.measure = steps, _named(measure)
        self.model = model
        budgets = [budget] if isinstance(budget, (str, float, int)) else budget
        originals = agreed(lambda: _named(original_s))
        traced = cache(lambda exclude: trace(model, example_inputs, exclude=exclude))
        self.space, of_group, self.goals = settle(
            blocks,
            lambda some: space_of(model, traced, some),
            lambda space: Goals(space, _named(surrogate), budgets, originals, int8),
        )
        self.weights = Weights(model, self.space)
        self.space.graph.prepare()
        self._full_s = self.cost.reach().full

        sizes = self.space.sizes
        total = sum(sizes)
        segment = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
        prunable = torch.tensor([g.prunable for g in self.space.groups])
        kinds = [COUNTS.index(block.count) for block in of_group]
        self._kind = COUNTS[kinds[0]] if len(set(kinds)) == 1 else None
        self._inits = [block.init for block in of_group]
        self._projection = Projection(self.space, self.goals, self.weights)
        self.alpha = nn.Parameter(torch.ones(total))
        state = {
            "start": torch.ones(total),  # masks count relative to where they start
            "last": torch.ones(total),  # masks as they were before the user's optimiser
            "momentum": torch.zeros(total),
            "variance": torch.zeros(total),
            "importance": torch.zeros(total),
            "strength": torch.zeros(()),
            "pull": torch.zeros(total),  # gradient of the relative cost where it was looked up last
            "level": torch.zeros(()),  # of its tangent there
            "looked_up": torch.zeros((), dtype=torch.bool),
            "taken": torch.zeros((), dtype=torch.int64),
            "fixed": torch.zeros((), dtype=torch.bool),
        }
        for name, value in state.items():
            self.register_buffer(name, value)
        of_model = {
            "sizes": torch.tensor(sizes, dtype=torch.float32),
            "minima": torch.tensor([g.minimum for g in self.space.groups], dtype=torch.float32),
            "segment": segment,
            "free": prunable[segment],
            "kinds": torch.tensor(kinds),
        }
        for option in self.space.bits:  # of nested widths the least always stays
            first = sum(sizes[: option.group.index])
            of_model["free"][first] = False
        for name, value in of_model.items():
            self.register_buffer(name, value, persistent=False)

    @property
    def graph(self) -> Graph:
        """The traced model."""
        return self.space.graph

    @property
    def cost(self) -> Cost:
        """Latency on the first target; without a target, what the first budget is of."""
        return next(iter(self.goals.costs.values()))  # type: ignore[return-value]

    @property
    def goal(self) -> Goal | None:
        """The budget of ``cost``; None where only other figures have one."""
        return next((g for g in self.goals.each if g.cost is self.cost), None)

    @property
    def full_s(self) -> float:
        """Latency of the original on the first target, seconds: measured, else predicted."""
        return self._full_s

    @property
    def budget_s(self) -> float | None:
        """What the first target is allowed, seconds; None where only other figures are."""
        return self.goal.limit if self.goal else None

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.weights.run(self.model, self.scales(), args, kwargs)

    def scales(self) -> list[Tensor]:
        """Per group, what multiplies each channel where it is read, (size,); 0 is removed."""
        return self._split(self.alpha / self.start)

    def counts(self) -> list[int]:
        """Units left, per group of ``space``."""
        return [int((part > 0).sum()) for part in self._split(self.alpha.detach())]

    def latency_s(self) -> float:
        """Predicted latency at the true counts, seconds on the first target."""
        with torch.no_grad():
            return float(self.cost(self._true_counts()))

    def load(self, way: float = 1.0) -> float:
        """The largest cost at the true counts over what is wanted of it at this share of the way
        from the original to the budgets."""
        with torch.no_grad():
            return float(self.goals.load(self._true_counts(), way))

    def widths(self) -> list[dict[str, Any]]:
        """Per group that can shrink, its name and its units before and after; a residual block is a
        group of one, and what was in a dropped one is 0."""
        counts = self.counts()
        gone = self.space.vanished(counts)
        return [
            {
                "group": group.name,
                "before": group.size,
                "after": 0 if group.index in gone else count,
            }
            for group, count in zip(self.space.groups, counts, strict=True)
            if group.prunable
        ]

    def penalty(self) -> Tensor:
        """lambda * cost / original cost at the masks' soft counts; 0 once they are fixed.

        The cost is looked up as often as lambda is steered; between, its tangent stands for it,
        for masks move by a fraction of a percent.
        """
        if self.fixed:
            return self.alpha.new_zeros(())
        if not self.looked_up:
            self._look_up()
        value: Tensor = self.strength * (self.level + self.alpha.dot(self.pull))
        return value

    @torch.enable_grad()  # the penalty may be read within no_grad
    def _look_up(self) -> None:
        alpha = self.alpha.detach().requires_grad_()
        counts = soft_counts(alpha, self.segment, self.sizes, self._kind or self.kinds)
        relative = self.goals.relative(counts)
        (pull,) = torch.autograd.grad(relative, alpha)
        self.pull.copy_(pull)
        self.level.copy_((relative - alpha.dot(pull)).detach())
        self.looked_up.fill_(True)

    @torch.no_grad()
    def step(self) -> None:
        """Project the masks, steer lambda, and fix the masks when the mask phase ends.

        Call it after ``optimizer.step()`` and before ``zero_grad``. The masks take their own
        projected Adam step (eq. 6 and 7), of a size that lets them cross from 1 to 0 within the
        mask phase, whatever the user's optimiser and learning rate are.
        """
        grad = self.alpha.grad
        self.alpha.copy_(self.last)
        if self.fixed or grad is None or not grad.isfinite().all():
            return  # a loss scaler skips steps that overflow, and so do the masks
        self.taken += 1
        taken, warm = int(self.taken), max(1, round(_WARM * self.steps))
        task = grad - self.strength * self.pull
        self.importance.lerp_((task * self.start).square(), 1 / min(taken, _MEMORY))
        if taken == warm:
            self._begin()
            self.looked_up.fill_(False)
        elif taken > warm:
            since, phase = taken - warm, self.steps - warm
            way = ramp(since / phase)
            self._move(grad, since)
            every = max(1, phase // _STEERINGS)
            if self.strength == 0 or since % every == 0:
                self._steer(task, way, every)
                self.looked_up.fill_(False)
            if since % max(1, phase // _PROJECTIONS) == 0:
                self._project(way)
                self.looked_up.fill_(False)
        self.last.copy_(self.alpha)
        if taken >= self.steps:
            self.fix()

    def _begin(self) -> None:
        """Start the masks; the function stays the same, for masks count relative to the start."""
        weight = self.importance.sqrt()
        mean = torch.zeros_like(self.sizes).index_add(0, self.segment, weight) / self.sizes
        weight = (weight / mean.clamp_min(1e-30)[self.segment]).clamp(0.2, 2.0)
        for init, start, mine in zip(
            self._inits, self._split(self.start), self._split(weight), strict=True
        ):
            if init == "uniform":
                start.uniform_(0, 0.5).clamp_min_(1e-3)
            elif init == "importance":
                start.copy_(mine)
        self.start.masked_fill_(~self.free, 1.0)
        share(self.start)
        self.alpha.copy_(self.start)

    def _move(self, grad: Tensor, taken: int) -> None:
        """One Adam step, projected onto masks that are >= 0 and keep each group's minimum."""
        self.momentum.lerp_(grad, 1 - _BETA1)
        self.variance.lerp_(grad.square(), 1 - _BETA2)
        spread = (self.variance / (1 - _BETA2**taken)).sqrt() + 1e-12
        size = _REACH / self.steps / (1 - _BETA1**taken)
        moved = self.alpha.addcdiv(self.momentum, spread, value=-size)
        moved = moved.clamp_min(0).minimum(self.start)
        # A zero stays until a projection brings it back, so that the network learns to do without.
        moved = torch.where(self.free & (self.alpha > 0), moved, self.alpha)
        left = torch.zeros_like(self.sizes).index_add(0, self.segment, (moved > 0).to(self.sizes))
        moved = torch.where((left < self.minima)[self.segment], self.alpha, moved)
        for option in self.space.bits:  # what is above a width that is gone is gone
            new = self._split(moved)[option.group.index]
            new.mul_((new > 0).cumprod(0))
        self.alpha.copy_(moved)

    def _steer(self, task: Tensor, way: float, every: int) -> None:
        if self.strength == 0:
            size = self.pull.norm()
            if size > 0:
                self.strength.copy_(_FIRST_PULL * task.norm() / size)
            return
        soft = soft_counts(self.alpha / self.start, self.segment, self.sizes, "hoyer_square")
        lag = self.goals.lag(soft, way)
        self.strength.fill_(steer(float(self.strength), lag, self.steps // every))

    def _project(self, way: float, slack: float = 1.0) -> None:
        self._projection(self.alpha, self.start, self.importance, way, slack)
        share(self.alpha)  # processes on different machines may round differently
        self.weights.refit(self.model, self.scales())
        self._projection.warn(self.counts())

    @torch.no_grad()
    def fix(self) -> None:
        """End the mask phase: keep the most important units that fit the budgets.

        Afterwards lambda is 0 and the masks stay. With ``measure`` the shrunk model is timed,
        the cost corrected by what was learnt, and the choice made again, until the measurement
        lies just under the budget.
        """
        before = self.alpha.clone()
        tried: list[tuple[float, Tensor]] = []  # measured over the budget, the worst; the masks
        shares: dict[str, list[tuple[float, float]]] = {name: [] for name in self.measure}
        for _ in range(_CORRECTIONS):
            self.alpha.copy_(before)
            self._project(1.0, _AIM)
            self._projection.harden(self.alpha, self.start)
            if not self.measure:
                break
            small = self._shrunk()
            found = [
                self._learn(name, agreed(partial(timed, small)), shares[name])
                for name, timed in self.measure.items()
            ]
            if all(fits for fits, _ in found):
                break
            tried.append((max(share for _, share in found), self.alpha.clone()))
        else:  # what was measured decides: the slowest that met its budget, or the fastest
            met = [t for t in tried if t[0] <= 1]
            self.alpha.copy_((max if met else min)(met or tried, key=lambda t: t[0])[1])
        self.last.copy_(self.alpha)
        self.strength.zero_()
        self.fixed.fill_(True)

    def _learn(
        self, target: str, measured_s: float, tried: list[tuple[float, float]]
    ) -> tuple[bool, float]:
        """Whether a measurement lies just under its budget, and its share of it; where it does not
        the cost is corrected by it and by what was ``tried`` before: corrections and shares."""
        goal = self.goals.of(target)
        if goal is None:
            return True, 0.0
        predicted_s = float(goal.cost(self._true_counts()))
        loose = predicted_s < _LOW * goal.limit  # another budget is the tighter one
        share = measured_s / goal.limit
        fits = (loose or share >= _LOW) and share <= _HIGH
        if not fits:
            tried.append((float(goal.cost.correction), share))
            goal.cost.correction.fill_(corrected(tried, predicted_s / goal.limit))
        return fits, share

    @torch.no_grad()
    def snapshot(self, way: float) -> tuple[nn.Module, list[int]]:
        """The network that the masks would leave at this share of the way to the budgets, and its
        unit counts.

        The masks go on as they were: for looking at a run on its way.
        """
        before = self.alpha.clone()
        try:
            self._project(way, _AIM)
            return self._shrunk(), self.counts()
        finally:
            self.alpha.copy_(before)

    def shrink(self) -> nn.Module:
        """The physically smaller network, of the user's own classes; fixes the masks if need be.

        It computes what ``forward`` computes in eval mode, to float rounding.
        """
        if not self.fixed:
            self.fix()
        return self._shrunk()

    def _shrunk(self) -> nn.Module:
        scales = [s.detach() for s in self.scales()]
        left = [(s != 0).float() for s in scales[: len(self.graph.groups)]]
        counts = self.counts()
        paying = self.goals.paying(counts)
        ranks = {
            o.layer.path: counts[o.group.index] for o in self.space.ranks if o.layer.path in paying
        }
        with torch.no_grad():
            weights = self.weights(self.model, scales)
        dropped = self.space.dropped(counts)
        return shrink(self.model, self.graph, left, weights=weights, ranks=ranks, dropped=dropped)

    def _true_counts(self) -> Tensor:
        return torch.tensor(self.counts(), dtype=torch.float32)

    def _split(self, flat: Tensor) -> list[Tensor]:
        """Views of one flat tensor, per group."""
        return list(torch.split(flat, self.space.sizes))


def _named(value: Any) -> dict[str, Any]:
    """What is given for the only target, or for several by name."""
    if value is None:
        return {}
    return dict(value) if isinstance(value, Mapping) else {"latency": value}
