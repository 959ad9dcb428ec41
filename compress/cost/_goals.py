"""What the masks are trained towards: one or several budgets, and how far off each is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from latprof.compress.cost._budget import Budget
from latprof.compress.cost._cost import Cost, LatencyCost, MacsCost, WeightsCost
from latprof.compress.cost._integer import as_int8
from latprof.compress.space import Space
from latprof.errors import UsageError
from latprof.vocabulary import format_figure

if TYPE_CHECKING:
    from latprof.surrogate import Surrogate

__all__ = ["Goal", "Goals"]


@dataclass(frozen=True)
class Goal:
    """One budget, resolved.

    Args:
        full: the original's figure: seconds, MACs, parameters or bytes.
        limit: the figure to stay under.
    """

    budget: Budget
    cost: Cost
    full: float
    limit: float

    def __str__(self) -> str:
        return f"{self.budget.text} = {format_figure(self.budget.kind, self.limit)}"

    def wanted(self, way: float) -> float:
        """The figure at this share of the way from the original to the limit."""
        return self.full - (self.full - self.limit) * way


class Goals(nn.Module):
    """All budgets together; the first decides which layers are factored.

    Args:
        surrogates: of the targets, by the name that budgets call them.
        originals: measured latencies of the original, seconds, of some of the targets.
        int8: what the file that is deployed has in int8, as ``Int8Export.choice``; None: nothing.

    Raises:
        UsageError: a budget of an unknown kind, or one that a block cannot serve.
        InfeasibleBudgetError: a budget that is met already, or out of reach.
    """

    def __init__(
        self,
        space: Space,
        surrogates: Mapping[str, Surrogate],
        budgets: Sequence[str | float],
        originals: Mapping[str, float],
        int8: str | None = None,
    ) -> None:
        super().__init__()
        self.space = space
        costs: dict[str, Cost] = {
            n: LatencyCost(as_int8(space, int8, s) if int8 else space, s)
            for n, s in surrogates.items()
        }
        for name, original_s in originals.items():
            costs[name].correction.fill_(original_s / costs[name].reach().full)
        self.each: list[Goal] = []
        parsed = [Budget.parse(text) for text in budgets]
        _prepare(space, parsed)
        for budget in parsed:
            if budget.kind not in costs:
                costs[budget.kind] = _cost(space, budget, list(surrogates))
            cost, reach = costs[budget.kind], costs[budget.kind].reach()
            self.each.append(Goal(budget, cost, reach.full, budget.resolve(reach)))
        self.costs = nn.ModuleDict(costs)

    def load(self, counts: Tensor, way: float = 1.0, slack: float = 1.0) -> Tensor:
        """(..., G) counts to (...): the largest cost over what is wanted of it at this share of
        the way; at most 1 where all is well. ``slack`` multiplies what is wanted."""
        factored = self._factored(counts)
        shares = [g.cost(counts, factored) / (g.wanted(way) * slack) for g in self.each]
        return torch.stack(shares).amax(0)

    def relative(self, counts: Tensor) -> Tensor:
        """Costs over the original's, added up: what lambda multiplies."""
        factored = self._factored(counts)
        return torch.stack([g.cost(counts, factored) / g.full for g in self.each]).sum(0)

    def lag(self, counts: Tensor, way: float) -> float:
        """How far the costs are above what is wanted, as a share of the whole way; the worst."""
        with torch.no_grad():
            factored = self._factored(counts)
            return max(
                (float(g.cost(counts, factored)) - g.wanted(way)) / (g.full - g.limit)
                for g in self.each
            )

    def __str__(self) -> str:
        return ", ".join(map(str, self.each))

    def of(self, kind: str) -> Goal | None:
        """The budget of this kind, if there is one."""
        return next((g for g in self.each if g.budget.kind == kind), None)

    def paying(self, counts: Sequence[int]) -> list[str]:
        """Paths of the layers that are factored at these counts."""
        return self.each[0].cost.paying(counts)

    def ever_paying(self) -> list[str]:
        """Paths of the layers that cost less as two at some rank, at full widths."""
        ranks, found = self.space.ranks, set[str]()
        for step in range(max((o.group.size.bit_length() for o in ranks), default=0)):
            counts = list(self.space.sizes)
            for o in ranks:
                counts[o.group.index] = min(o.group.minimum << step, o.group.size)
            found.update(self.paying(counts))
        return [o.layer.path for o in ranks if o.layer.path in found]

    def _factored(self, counts: Tensor) -> Tensor | None:
        if len(self.each) == 1 or not self.space.ranks:
            return None
        with torch.no_grad():
            return (self.each[0].cost.saved(counts) > 0).to(counts.dtype)


def _cost(space: Space, budget: Budget, targets: list[str]) -> Cost:
    if budget.kind == "macs":
        return MacsCost(space)
    if budget.kind in ("params", "bytes"):
        return WeightsCost(space, as_bytes=budget.kind == "bytes")
    known = ", ".join([*targets, "macs", "params", "bytes"])
    raise UsageError(
        f"budget {budget.text} is of {budget.kind!r}; expected one of {known}"
        + ("" if targets else " (a latency takes a surrogate)")
    )


def _prepare(space: Space, budgets: Sequence[Budget]) -> None:
    """Refuse a block that can do nothing for any of the budgets."""
    if not budgets:
        raise UsageError("no budget is given; expected one like '60%'")
    if space.bits and not any(b.kind == "bytes" for b in budgets):
        raise UsageError(
            "Quantise cannot pay here: few bits save space, and latency only in an int8 file; "
            "expected a budget of bytes beside it, like 'bytes=25%', or export_int8 without it"
        )
    free = any(o.n_of_m is None for o in space.sparse)
    if free and not any(b.kind in ("params", "bytes") for b in budgets):
        raise UsageError(
            "Sparse cannot pay here: runtimes without sparse kernels take as long for zeros; "
            "expected a budget of params or bytes beside it, like 'bytes=50%', or Prune"
        )
