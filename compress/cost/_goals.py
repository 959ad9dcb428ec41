"""What the masks are trained towards: one or several budgets, and how far off each is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import MappingProxyType

import torch
from torch import Tensor, nn

from latprof.compress.cost._budget import Budget
from latprof.compress.cost._cost import Cost, LatencyCost, MacsCost
from latprof.compress.cost._file_bytes import FileBytesCost
from latprof.compress.cost._integer import as_int8
from latprof.compress.cost._latency import Latency
from latprof.compress.cost._memory import MemoryCost
from latprof.compress.cost._tflite_bytes import TfliteBytesCost
from latprof.compress.cost._weights import WeightsCost
from latprof.compress.graph import with_ops_of
from latprof.compress.space import Space
from latprof.errors import UsageError
from latprof.vocabulary import format_figure

__all__ = ["Goal", "Goals"]


#: Kinds of budgets that are counted.
_COUNTED = ("macs", "params")


@dataclass(frozen=True)
class Goal:
    """One budget, resolved. All figures are in ``cost.unit``.

    Args:
        budget: as it was asked for.
        cost: what it is a budget of.
        original: the original's figure.
        limit: the figure to stay under.
    """

    budget: Budget
    cost: Cost
    original: float
    limit: float

    def __str__(self) -> str:
        return f"{self.budget.text} = {format_figure(self.budget.kind, self.limit)}"

    def target(self, progress: float) -> float:
        """The figure at this share of the way from the original to the limit: by equal steps, and
        by equal factors where the way is long."""
        if self.budget.goes_far:
            share: float = (self.limit / self.original) ** progress
            return self.original * share
        return self.original - (self.original - self.limit) * progress


class Goals(nn.Module):
    """All budgets together; the first decides which layers are factored, and the first of
    parameters or bytes which embeddings are. Without any, there is one
    figure to lower and nothing to meet: latency, else bytes where zeros or bits are all that is
    saved, else MACs.

    Args:
        latencies: of the targets, by the name that budgets call them.
        budgets: see ``Budget.parse``.
        originals: of the original, as measured: ``bytes`` of its packed file, ``memory`` that it
            takes on the target; those that are known.

    Raises:
        UsageError: a budget of an unknown kind, or one that a block cannot serve.
        InfeasibleBudgetError: a budget that is met already, or out of reach.
    """

    def __init__(
        self,
        space: Space,
        latencies: Mapping[str, Latency],
        budgets: Sequence[str | float],
        originals: Mapping[str, float] = MappingProxyType({}),
    ) -> None:
        super().__init__()
        self.space = space
        costs: dict[str, Cost] = {}
        for name, latency in latencies.items():
            of = space
            if latency.graph is not None:
                of = replace(space, graph=with_ops_of(space.graph, latency.graph))
            if latency.int8:
                of = as_int8(of, latency.int8, latency.surrogate)
            costs[name] = LatencyCost(of, latency.surrogate)
            if latency.original_s is not None:
                predicted_s = costs[name].feasible_range().original
                costs[name].correction.fill_(latency.original_s / predicted_s)
        self.each: list[Goal] = []
        self._shares: list[float] = []
        self.any = bool(budgets)
        rows = space.graph.inputs.rows
        parsed = [Budget.parse(text).at_batch(rows) for text in budgets]
        parsed = parsed or [_nothing_to_meet(space, latencies)]
        _check_blocks(space, parsed, costs)
        for budget in parsed:
            if budget.kind not in costs:
                costs[budget.kind] = _cost(space, budget, latencies, originals)
            cost = costs[budget.kind]
            feasible = cost.feasible_range()
            limit = budget.resolve(feasible) if self.any else feasible.original
            self.each.append(Goal(budget, cost, feasible.original, limit))
        self.costs = nn.ModuleDict(costs)
        self._shares = [1.0] * len(self.each)

    @property
    def are_exact(self) -> bool:
        """Whether all figures are counted, none predicted."""
        return all(goal.budget.kind in _COUNTED for goal in self.each)

    def ratio(self, counts: Tensor, progress: float = 1.0, margin: float = 1.0) -> Tensor:
        """(..., G) counts to (...): the largest cost over its target at this share of the way to
        the budgets; at most 1 where all are met. ``margin`` multiplies the targets."""
        if not self.any:
            return counts.new_zeros(counts.shape[:-1])
        factored = self._factored(counts)
        ratios = [
            g.cost(counts, factored) / (g.target(progress * share) * margin)
            for g, share in zip(self.each, self._shares, strict=True)
        ]
        return torch.stack(ratios).amax(0)

    @contextmanager
    def along(self, shares: Sequence[float]) -> Iterator[None]:
        """Within, ``ratio`` asks of each budget this share of the progress, in [0, 1]."""
        before, self._shares = self._shares, list(shares)
        try:
            yield
        finally:
            self._shares = before

    def relative_cost(self, counts: Tensor) -> Tensor:
        """Costs over the original's, added up: what lambda multiplies."""
        factored = self._factored(counts)
        return torch.stack([g.cost(counts, factored) / g.original for g in self.each]).sum(0)

    def gap(self, counts: Tensor, progress: float) -> float:
        """How far the costs are above their targets, as a share of the whole way; the worst."""
        if not self.any:
            return 0.0
        with torch.no_grad():
            factored = self._factored(counts)
            return max(
                (float(g.cost(counts, factored)) - g.target(progress)) / (g.original - g.limit)
                for g in self.each
            )

    def __str__(self) -> str:
        return ", ".join(map(str, self.each))

    def of(self, kind: str) -> Goal | None:
        """The budget of this kind, if there is one."""
        return next((g for g in self.each if g.budget.kind == kind), None)

    def paying(self, counts: Sequence[int]) -> list[str]:
        """Paths of the layers that are factored at these counts."""
        taken = self._saves(torch.tensor(counts, dtype=torch.float32)).tolist()
        return [o.layer.path for o, pays in zip(self.space.ranks, taken, strict=True) if pays]

    def ever_paying(self) -> list[str]:
        """Paths of the layers that cost less as two at some rank, at full widths."""
        ranks, paying = self.space.ranks, set[str]()
        for step in range(max((o.group.size.bit_length() for o in ranks), default=0)):
            counts = list(self.space.sizes)
            for o in ranks:
                counts[o.group.index] = min(o.group.minimum << step, o.group.size)
            paying.update(self.paying(counts))
        return [o.layer.path for o in ranks if o.layer.path in paying]

    def _factored(self, counts: Tensor) -> Tensor | None:
        if len(self.each) == 1 or not self.space.ranks:
            return None
        return self._saves(counts).to(counts.dtype)

    @torch.no_grad()
    def _saves(self, counts: Tensor) -> Tensor:
        """(..., F) whether each layer costs less as two, for the first budget; a factored embedding
        saves no latency, so that the first budget of weights decides about it."""
        saves = self.each[0].cost.saved(counts) > 0
        of_weights = (g for g in self.each[1:] if isinstance(g.cost, WeightsCost))
        lookups = torch.tensor([bool(o.layer.lookups) for o in self.space.ranks])
        if bool(lookups.any()) and not isinstance(self.each[0].cost, WeightsCost):
            for goal in of_weights:
                lookups = lookups.to(saves.device)
                return torch.where(lookups, goal.cost.saved(counts).to(saves.device) > 0, saves)
        return saves


def _nothing_to_meet(space: Space, latencies: Mapping[str, Latency]) -> Budget:
    free = space.bits or any(o.n_of_m is None for o in space.sparse)
    kind = "bytes" if free else next(iter(latencies), "macs")
    return Budget("no budget", kind, fraction=1.0)


def _cost(
    space: Space,
    budget: Budget,
    latencies: Mapping[str, Latency],
    originals: Mapping[str, float],
) -> Cost:
    if budget.kind == "macs":
        return MacsCost(space)
    if budget.kind == "params":
        return WeightsCost(space)
    if budget.kind == "bytes":
        runtimes = {latency.surrogate.target.runtime for latency in latencies.values()}
        cost = TfliteBytesCost(space) if "tflite" in runtimes else FileBytesCost(space)
        if "bytes" in originals:
            cost.constant.fill_(originals["bytes"] - cost.feasible_range().original)
        return cost
    if budget.kind == "memory":
        memory = MemoryCost(space)
        if "memory" in originals:
            memory.correction.fill_(originals["memory"] / memory.feasible_range().original)
        return memory
    known = ", ".join([*latencies, "macs", "params", "bytes", "memory"])
    raise UsageError(
        f"budget {budget.text} is of {budget.kind!r}; expected one of {known}"
        + ("" if latencies else " (a latency takes a surrogate)")
    )


def _check_blocks(space: Space, budgets: Sequence[Budget], costs: Mapping[str, Cost]) -> None:
    """Refuse a block that can do nothing for any of the budgets."""
    kinds = {b.kind for b in budgets}
    timed = [c for name, c in costs.items() if name in kinds and isinstance(c, LatencyCost)]
    if space.bits and "bytes" not in kinds and not any(c.few_bits.forms for c in timed):
        raise UsageError(f"Quantize cannot pay here: {_why_no_bits(timed)}")
    free = any(o.n_of_m is None for o in space.sparse)
    if free and not any(b.kind in ("params", "bytes") for b in budgets):
        raise UsageError(
            "Sparse cannot pay here: runtimes without sparse kernels take as long for zeros; "
            "expected a budget of params or bytes beside it, like 'bytes=50%', or Prune"
        )


def _why_no_bits(timed: Sequence[LatencyCost]) -> str:
    what = "few bits save space, and latency only where the table has rows of them"
    if any(c.few_bits.widths for c in timed):
        what = "few bits save space, and latency of linear layers alone, and it has none of these"
    return (
        f"{what}; expected linear layers and a table of latprof profile --bits 4,8, a budget of "
        "bytes like 'bytes=25%', or export_int8 without it"
    )
