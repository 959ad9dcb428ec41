"""Training with masks until the network meets its budget (Nasery et al., sections 2 and 3)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from latprof._errors import UsageError
from latprof.compress._budget import Budget
from latprof.compress._controller import steer, wanted_s
from latprof.compress._cost import Cost
from latprof.compress._counts import prepare_counts, soft_counts
from latprof.compress._ranks import decided, share
from latprof.compress._select import candidates, select
from latprof.compress._shrink import shrink
from latprof.compress._trace import trace

if TYPE_CHECKING:
    from latprof.surrogate import Surrogate

__all__ = ["Compressor", "Prune"]

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
#: What the scale of a removed channel is taken for when it is judged, and where it restarts.
_REVIVED = 0.5
#: A measured latency this far below the budget is as good as it gets.
_LOW, _AIM, _HIGH = 0.94, 0.965, 0.985
_CORRECTIONS = 6


@dataclass(frozen=True)
class Prune:
    """Remove channels of whole groups.

    Args:
        count: how a mask counts its channels: ``l1l2`` (the paper's), ``hoyer_square``, ``l1``.
        init: masks start at ``one``; ``uniform`` in [0, 0.5] (the paper's App. B); or in
            proportion to each channel's ``importance``. The network computes the same in all
            three, for a mask counts relative to its start.
        divisor: counts are multiples of it. Off multiples of 4 runtimes leave their fast paths
            (ONNX Runtime's depthwise convolution takes ten times as long there).
        exclude: names or patterns (fnmatch) of modules whose output channels stay.
    """

    count: str = "l1l2"
    init: str = "importance"
    divisor: int = 4
    exclude: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        prepare_counts(self.count)
        if self.init not in ("importance", "one", "uniform"):
            raise UsageError(f"init is {self.init!r}; expected importance, one or uniform")


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
    that read each channel group only while ``forward`` runs.

    Args:
        model: any traceable module, pre-trained.
        example_inputs: what its forward takes, at the batch size it will be deployed with: a
            tensor, a tuple of positional inputs, or a dict of named ones.
        surrogate: latency of the target's ops, from ``latprof.surrogate.fit``.
        budget: ``5 ms``, ``60%``, or seconds.
        blocks: what may be done to the network.
        steps: length of the mask phase, in calls of ``step``; after it the masks are fixed at
            the budget, lambda is 0, and the same loop fine-tunes.
        original_s: the original's measured latency; else the surrogate's prediction. A share is
            a share of it.
        measure: seconds of a shrunk model on the target. Called a few times when the masks are
            fixed, so that the budget is met by measurement, not by prediction.

    Raises:
        InfeasibleBudgetError: before any training, with what is reachable.
    """

    start: Tensor
    last: Tensor
    momentum: Tensor
    variance: Tensor
    importance: Tensor
    strength: Tensor
    taken: Tensor
    fixed: Tensor
    sizes: Tensor
    segment: Tensor
    free: Tensor

    def __init__(
        self,
        model: nn.Module,
        example_inputs: Any,
        surrogate: Surrogate,
        budget: str | float = "60%",
        *,
        blocks: Sequence[Prune] = (Prune(),),
        steps: int = 2000,
        original_s: float | None = None,
        measure: Callable[[nn.Module], float] | None = None,
    ) -> None:
        super().__init__()
        if len(blocks) != 1 or steps < 1:
            raise UsageError(
                f"{len(blocks)} blocks, {steps} steps; expected one Prune(), steps >= 1"
            )
        self.block, self.steps, self.measure = blocks[0], steps, measure
        self.model = model
        traced = trace(model, example_inputs, exclude=self.block.exclude)
        self.graph = traced.aligned(self.block.divisor)
        self.cost = Cost(self.graph, surrogate)
        reach = self.cost.reach()
        self.full_s = reach.full_s if original_s is None else original_s
        self.budget = Budget.parse(budget)
        self.budget_s = self.budget.resolve(reach, original_s)
        self.cost.correction.fill_(self.full_s / reach.full_s)

        sizes = self.graph.sizes
        total = sum(sizes)
        segment = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
        prunable = torch.tensor([g.prunable for g in self.graph.groups])
        self.alpha = nn.Parameter(torch.ones(total))
        state = {
            "start": torch.ones(total),  # masks count relative to where they start
            "last": torch.ones(total),  # masks as they were before the user's optimiser
            "momentum": torch.zeros(total),
            "variance": torch.zeros(total),
            "importance": torch.zeros(total),
            "strength": torch.zeros(()),
            "taken": torch.zeros((), dtype=torch.int64),
            "fixed": torch.zeros((), dtype=torch.bool),
        }
        for name, value in state.items():
            self.register_buffer(name, value)
        of_model = {
            "sizes": torch.tensor(sizes, dtype=torch.float32),
            "segment": segment,
            "free": prunable[segment],
        }
        for name, value in of_model.items():
            self.register_buffer(name, value, persistent=False)
        self._pull: Tensor | None = None

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        masked = self.graph.masked(dict(self.model.named_parameters()), self.scales())
        return functional_call(self.model, masked, args, kwargs)

    def scales(self) -> list[Tensor]:
        """Per group, what multiplies each channel where it is read, (size,); 0 is removed."""
        return self._split(self.alpha / self.start)

    def counts(self) -> list[int]:
        """Channels left, per group."""
        return [int((part > 0).sum()) for part in self._split(self.alpha.detach())]

    def latency_s(self) -> float:
        """Predicted latency at the true counts, seconds."""
        with torch.no_grad():
            return float(self.cost(torch.tensor(self.counts(), dtype=torch.float32)))

    def budget_at(self, original_s: float) -> float:
        """The budget in seconds where the original takes ``original_s``: a share follows it."""
        return self.budget_s if self.budget.fraction is None else self.budget.fraction * original_s

    def widths(self) -> list[dict[str, Any]]:
        """Per prunable group, its name and its channels before and after."""
        return [
            {"group": group.name, "before": group.size, "after": count}
            for group, count in zip(self.graph.groups, self.counts(), strict=True)
            if group.prunable
        ]

    def penalty(self) -> Tensor:
        """lambda * latency / original latency at the masks' soft counts; 0 once they are fixed."""
        if self.fixed:
            return self.alpha.new_zeros(())
        alpha = self.alpha.detach().requires_grad_()
        counts = soft_counts(alpha, self.segment, self.sizes, self.block.count)
        relative = self.cost(counts) / self.full_s
        (self._pull,) = torch.autograd.grad(relative, alpha)
        linear = (self.alpha * self._pull).sum()  # same value and gradient, one backward less
        value: Tensor = self.strength * (relative.detach() + linear - linear.detach())
        return value

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
        pull = torch.zeros_like(grad) if self._pull is None else self._pull
        task = grad - self.strength * pull
        self.importance.lerp_((task * self.start).square(), 1 / min(taken, _MEMORY))
        if taken == warm:
            self._begin()
        elif taken > warm:
            progress = (taken - warm) / (self.steps - warm)
            wanted = wanted_s(progress, self.full_s, self.budget_s)
            self._move(grad, taken - warm)
            self._steer(task, pull, wanted)
            if (taken - warm) % max(1, (self.steps - warm) // _PROJECTIONS) == 0:
                self._project(wanted)
        self.last.copy_(self.alpha)
        if taken >= self.steps:
            self.fix()

    def _begin(self) -> None:
        """Start the masks; the function stays the same, for masks count relative to the start."""
        if self.block.init == "uniform":
            self.start.uniform_(0, 0.5).clamp_min_(1e-3)
            share(self.start)
        elif self.block.init == "importance":
            weight = self.importance.sqrt()
            mean = torch.zeros_like(self.sizes).index_add(0, self.segment, weight) / self.sizes
            self.start.copy_((weight / mean.clamp_min(1e-30)[self.segment]).clamp(0.2, 2.0))
        self.start.masked_fill_(~self.free, 1.0)
        self.alpha.copy_(self.start)

    def _move(self, grad: Tensor, taken: int) -> None:
        """One Adam step, projected onto masks that are >= 0 and keep each group's minimum."""
        self.momentum.lerp_(grad, 1 - _BETA1)
        self.variance.lerp_(grad.square(), 1 - _BETA2)
        spread = (self.variance / (1 - _BETA2**taken)).sqrt() + 1e-12
        direction = self.momentum / (1 - _BETA1**taken) / spread
        moved = (self.alpha - _REACH / self.steps * direction).clamp_min(0).minimum(self.start)
        # A zero stays until a projection brings it back, so that the network learns to do without.
        moved = torch.where(self.free & (self.alpha > 0), moved, self.alpha)
        parts = zip(self.graph.groups, self._split(self.alpha), self._split(moved), strict=True)
        for group, old, new in parts:
            if int((new > 0).sum()) < group.minimum:
                new.copy_(old)
        self.alpha.copy_(moved)

    def _steer(self, task: Tensor, pull: Tensor, wanted: float) -> None:
        if self.strength == 0:
            size = pull.norm()
            if size > 0:
                self.strength.copy_(_FIRST_PULL * task.norm() / size)
            return
        soft = soft_counts(self.alpha / self.start, self.segment, self.sizes, "hoyer_square")
        now_s = float(self.cost(soft))
        self.strength.fill_(
            steer(float(self.strength), now_s, wanted, self.full_s, self.budget_s, self.steps)
        )

    def _project(self, budget_s: float) -> None:
        """Zero the masks of the least important channels until the true counts fit.

        Importance is first-order Taylor, E[(scale * dL/dscale)^2] (Molchanov et al., 2019,
        arXiv:1906.10771). A zero mask is judged as if it stood at half its start: it comes back
        where that is worth more than what it displaces.
        """
        scale = self.alpha / self.start
        worth = self._split(self.importance * scale.clamp_min(_REVIVED).square())
        counts = select(
            [w.double().cpu().numpy() for w in worth],
            [candidates(g) for g in self.graph.groups],
            lambda rows: self.cost(torch.as_tensor(rows, dtype=torch.float32)).cpu().numpy(),
            budget_s,
        )
        parts = zip(self._split(self.alpha), self._split(self.start), worth, counts, strict=True)
        for part, start, value, count in parts:
            chosen = value.argsort(descending=True)[:count]
            kept = torch.where(part > 0, part, _REVIVED * start)[chosen]
            part.zero_()
            part[chosen] = kept
        share(self.alpha)  # processes on different machines may round differently

    @torch.no_grad()
    def fix(self) -> None:
        """End the mask phase: keep the most important channels that fit the budget.

        Afterwards lambda is 0 and the masks stay. With ``measure`` the shrunk model is timed,
        the cost corrected by what was learnt, and the choice made again, until the measurement
        lies just under the budget.
        """
        before = self.alpha.clone()
        for _ in range(_CORRECTIONS):
            self.alpha.copy_(before)
            self._project(self.budget_s * _AIM)
            if self.measure is None:
                break
            measured_s = decided(self.measure, self._shrunk(), self.alpha)
            if _LOW * self.budget_s <= measured_s <= _HIGH * self.budget_s:
                break
            self.cost.correction.mul_(measured_s / self.latency_s())
        self.last.copy_(self.alpha)
        self.strength.zero_()
        self.fixed.fill_(True)

    @torch.no_grad()
    def snapshot(self, latency_s: float) -> tuple[nn.Module, list[int]]:
        """The network that the masks would leave at this latency, and its group counts.

        The masks go on as they were: for looking at a run on its way.
        """
        before = self.alpha.clone()
        try:
            self._project(latency_s * _AIM)
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
        return shrink(self.model, self.graph, [s.detach() for s in self.scales()])

    def _split(self, flat: Tensor) -> list[Tensor]:
        """Views of one flat tensor, per group."""
        return list(torch.split(flat, self.graph.sizes))
