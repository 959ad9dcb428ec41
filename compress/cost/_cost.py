"""What a network costs as a function of its unit counts: latency, MACs."""

from __future__ import annotations

import itertools
from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from latprof.compress.cost._budget import FeasibleRange
from latprof.compress.cost._few_bits import FewBits
from latprof.compress.space import Space
from latprof.workloads import Conv2d, Workload

if TYPE_CHECKING:
    from latprof.surrogate import Surrogate

__all__ = ["Cost", "LatencyCost", "MacsCost"]


class Cost(nn.Module):
    """counts (..., G) to one figure (...), differentiable.

    What lies in a residual block costs as much of itself as is left of the block.
    A layer that may be factored costs the less of one op and of two; ``saved`` says by how much
    the two are cheaper. ``correction`` multiplies; it is learned when a shrunk network is measured.

    Args:
        names: modules of what is added up, or parameters, (N,).

    Attributes:
        unit: of the figure: ``s``, ``MACs``, ``parameters`` or ``bytes``.
    """

    unit: str
    correction: Tensor
    holder: Tensor

    def __init__(self, space: Space, names: Sequence[str]) -> None:
        super().__init__()
        self.space = space
        self.register_buffer("correction", torch.ones(()))
        no_block = len(space.groups)
        holders = [space.holder(name) for name in names]
        holder = torch.tensor([no_block if h is None else h for h in holders], dtype=torch.int64)
        self.register_buffer("holder", holder)

    def forward(self, counts: Tensor, factored: Tensor | None = None) -> Tensor:
        """``factored`` (..., F) tells which layers are factored; by default those that pay."""
        counts = counts.to(self.correction.device)  # true counts are numbers of the host
        with torch.autocast(counts.device.type, enabled=False):  # 8 bits do not count channels
            whole, saved = self.parts(counts)
        if saved.shape[-1]:
            taken = saved.clamp_min(0) if factored is None else saved * factored
            whole = whole - taken.sum(-1)
        return self.correction * whole

    def _left(self, figures: Tensor, counts: Tensor, of: Tensor | None = None) -> Tensor:
        """Figures (..., N), or those ``of`` some of the names, as far as their blocks are left."""
        if not self.space.residuals:
            return figures
        holder = self.holder if of is None else self.holder[of]
        return figures * nn.functional.pad(counts, (0, 1), value=1.0)[..., holder]

    def saved(self, counts: Tensor) -> Tensor:
        """(..., F) what factoring each layer of ``space.ranks`` saves; negative where it costs."""
        return self.parts(counts.to(self.correction.device))[1]

    @abstractmethod
    def parts(self, counts: Tensor) -> tuple[Tensor, Tensor]:
        """((...) all layers whole, (..., F) what factoring each saves), without correction."""

    def paying(self, counts: Sequence[int]) -> list[str]:
        """Paths of the layers that cost less as two."""
        with torch.no_grad():
            saved = self.saved(torch.tensor(counts, dtype=torch.float32)).tolist()
        return [o.layer.path for o, s in zip(self.space.ranks, saved, strict=True) if s > 0]

    def exact(self, counts: Sequence[int], factored: Sequence[str] | None = None) -> float:
        """The figure at whole counts, where ``forward`` may be smooth between steps; with the
        layers named in ``factored`` as two, by default those that pay."""
        row = torch.tensor(counts, dtype=torch.float32)
        taken = None
        if factored is not None:
            taken = torch.tensor([float(o.layer.path in factored) for o in self.space.ranks])
        with torch.no_grad():
            return float(self(row, taken))

    def feasible_range(self) -> FeasibleRange:
        """From every group at its minimum to every group at its full size."""
        return FeasibleRange(self.exact(self.least()), self.exact(self.space.sizes))

    def least(self) -> list[int]:
        """Counts (G,) of the least figure."""
        return [g.minimum if g.prunable else g.size for g in self.space.groups]


class _OpsCost(Cost):
    """Of the ops: every op of the network, and the two that may stand for it, in one look-up.

    Args:
        ops: (..., N, 2) channels to (..., N) figures, of ``_all_ops(space)``.
        constant: what the whole network costs besides.
        per_op: what each op costs besides.
        again: whole ops that are looked up once more, last, in other forms, (F,).
    """

    mixing: Tensor
    offset: Tensor
    places: Tensor
    owner: Tensor
    looked_up: Tensor

    def __init__(
        self,
        space: Space,
        ops: Any,
        *,
        constant: float = 0.0,
        per_op: float = 0.0,
        again: Tensor | None = None,
    ) -> None:
        super().__init__(space, [op.module for op in space.graph.ops])
        self.ops, self.constant, self.per_op = ops, constant, per_op
        mixing, offset = space.graph.channel_map()
        pairs = space.pairs()
        self.whole = len(mixing)
        extra = np.zeros((len(mixing), 2, len(space.groups) - mixing.shape[2]))
        mixing = np.concatenate([mixing, extra], axis=2)
        for n, option, _, _ in pairs:
            rank = np.zeros(len(space.groups))
            rank[option.group.index] = 1.0
            mixing = np.concatenate(
                [mixing, [np.stack([mixing[n, 0], rank]), np.stack([rank, mixing[n, 1]])]]
            )
            offset = np.concatenate([offset, [[offset[n, 0], 0.0], [0.0, offset[n, 1]]]])
        lookups = space.lookups()
        for option, _ in lookups:
            rank = np.zeros(len(space.groups))
            rank[option.group.index] = 1.0
            per_group, stays = space.graph.slices(option.layer.weight, 1)
            mixing = np.concatenate(
                [mixing, [np.stack([rank, np.pad(per_group, (0, extra.shape[2]))])]]
            )
            offset = np.concatenate([offset, [[0.0, stays]]])
        if again is not None:
            mixing = np.concatenate([mixing, mixing[again.numpy()]])
            offset = np.concatenate([offset, offset[again.numpy()]])
        self.lookups_end = len(mixing) - (0 if again is None else len(again))
        self.register_buffer("mixing", torch.as_tensor(mixing, dtype=torch.float32))  # (N, 2, G)
        self.register_buffer("offset", torch.as_tensor(offset, dtype=torch.float32))  # (N, 2)
        of_option = {o.group.index: f for f, o in enumerate(space.ranks)}
        self.register_buffer("places", torch.tensor([p[0] for p in pairs], dtype=torch.int64))
        looked_up = [of_option[option.group.index] for option, _ in lookups]
        self.register_buffer("looked_up", torch.tensor(looked_up, dtype=torch.int64), False)
        self.register_buffer(
            "owner",
            torch.tensor([of_option[p[1].group.index] for p in pairs], dtype=torch.int64),
        )

    def _channels(self, counts: Tensor) -> Tensor:
        """(..., N, 2) of every op that is looked up."""
        found: Tensor = torch.tensordot(counts, self.mixing, ([-1], [2])) + self.offset
        return found

    def _by_few_bits(self, each: Tensor, counts: Tensor) -> Tensor:
        """(...) what weights of few bits save, of the figures of all ops (..., N)."""
        return each.new_zeros(())

    def parts(self, counts: Tensor) -> tuple[Tensor, Tensor]:
        each = self.ops(self._channels(counts)) + self.per_op
        whole = self._left(each[..., : self.whole], counts).sum(-1) + self.constant
        whole = whole - self._by_few_bits(each, counts)
        saved = each.new_zeros((*each.shape[:-1], len(self.space.ranks)))
        if len(self.places):
            two = each[..., self.whole : self.whole + 2 * len(self.places)]
            two = two.unflatten(-1, (-1, 2)).sum(-1)
            less = self._left(each[..., self.places] - two, counts, self.places)
            saved = saved.index_add(-1, self.owner, less)
        if len(self.looked_up):  # an op more, and none less
            looked_up = each[..., self.lookups_end - len(self.looked_up) : self.lookups_end]
            saved = saved.index_add(-1, self.looked_up, -looked_up)
        return whole, saved


class LatencyCost(_OpsCost):
    """Seconds on the surrogate's target. Zeroed weights cost what others cost, and weights of few
    bits too, but for linear layers where the table has rows of them: see FewBits."""

    unit = "s"

    def __init__(self, space: Space, surrogate: Surrogate) -> None:
        composition = surrogate.composition
        ops = _all_ops(space)
        few_bits = FewBits(space, surrogate, len(ops))
        alternatives = 2 * len(space.pairs()) + len(space.lookups()) + len(few_bits.forms)
        super().__init__(
            space,
            surrogate.torch_module([*ops, *few_bits.forms], alternatives=alternatives),
            constant=composition.constant_s,
            per_op=composition.per_op_s,
            again=few_bits.ops.repeat_interleave(len(few_bits.widths)),
        )
        self.surrogate, self.few_bits = surrogate, few_bits

    def _by_few_bits(self, each: Tensor, counts: Tensor) -> Tensor:
        if not self.few_bits.forms:
            return each.new_zeros(())
        less = self.few_bits.saved(each, counts)
        return self._left(less, counts, self.few_bits.ops).sum(-1)

    def faster_by_few_bits(self, counts: Tensor) -> set[str]:
        """Weights of the layers that few bits make faster, in any row of counts (..., G)."""
        if not self.few_bits.forms:
            return set()
        with torch.no_grad():
            return self.few_bits.paying(self.ops(self._channels(counts)) + self.per_op)

    def exact(self, counts: Sequence[int], factored: Sequence[str] | None = None) -> float:
        factored = self.paying(counts) if factored is None else factored
        whole = self.space.ops(counts, factored)
        others = self.space.workloads(counts, factored)[sum(map(len, whole)) :]
        ops = itertools.chain(*self.few_bits.at(counts, whole, others))
        predicted = self.surrogate.predict_model([*ops, *others])
        return float(predicted.latency_s) * float(self.correction)

    def least(self) -> list[int]:
        levels = self.few_bits.least_levels()
        return [levels.get(index, count) for index, count in enumerate(super().least())]


class MacsCost(_OpsCost):
    """Multiply-accumulates. Zeroed weights are multiplied like others."""

    unit = "MACs"

    def __init__(self, space: Space) -> None:
        super().__init__(space, _Macs(_all_ops(space)))

    def exact(self, counts: Sequence[int], factored: Sequence[str] | None = None) -> float:
        factored = self.paying(counts) if factored is None else factored
        return float(sum(w.macs for w in self.space.workloads(counts, factored)))


class _Macs(nn.Module):
    """(..., N, 2) channels to (..., N) MACs: all are products of the counts they depend on."""

    rate: Tensor
    both: Tensor

    def __init__(self, workloads: Sequence[Workload]) -> None:
        super().__init__()
        both = [
            not (w.tied or (isinstance(w, Conv2d) and w.groups > 1)) for w in workloads
        ]  # whole groups go, so that a grouped convolution is linear in c_out
        rate = [
            w.macs / (w.channels[1] * (w.channels[0] if b else 1))
            for w, b in zip(workloads, both, strict=True)
        ]
        self.register_buffer("rate", torch.tensor(rate, dtype=torch.float64).float())
        self.register_buffer("both", torch.tensor(both))

    def forward(self, channels: Tensor) -> Tensor:
        c_in, c_out = channels.unbind(-1)
        return self.rate * c_out * torch.where(self.both, c_in, 1.0)


def _all_ops(space: Space) -> list[Workload]:
    """Every op whole, then the pairs that may stand for some, then what lookups in a table of few
    columns are multiplied by."""
    whole = space.graph.workloads()
    pairs = (w for _, _, first, second in space.pairs() for w in (first, second))
    return [*whole, *pairs, *(w for _, w in space.lookups())]
