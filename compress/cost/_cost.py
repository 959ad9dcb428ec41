"""What a network costs as a function of its unit counts: latency, MACs, parameters, bytes."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from latprof.compress.cost._budget import FeasibleRange
from latprof.compress.space import Space
from latprof.workloads import Conv2d, Workload

if TYPE_CHECKING:
    from latprof.surrogate import Surrogate

__all__ = ["Cost", "LatencyCost", "MacsCost", "WeightsCost"]

_BITS = 32


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

    def exact(self, counts: Sequence[int]) -> float:
        """The figure at whole counts, where ``forward`` may be smooth between steps."""
        with torch.no_grad():
            return float(self(torch.tensor(counts, dtype=torch.float32)))

    def feasible_range(self) -> FeasibleRange:
        """From every group at its minimum to every group at its full size."""
        groups = self.space.groups
        least = [g.minimum if g.prunable else g.size for g in groups]
        return FeasibleRange(self.exact(least), self.exact(self.space.sizes))


class _OpsCost(Cost):
    """Of the ops: every op of the network, and the two that may stand for it, in one look-up.

    Args:
        ops: (..., N, 2) channels to (..., N) figures, of ``_all_ops(space)``.
        constant: what the whole network costs besides.
        per_op: what each op costs besides.
    """

    mixing: Tensor
    offset: Tensor
    places: Tensor
    owner: Tensor

    def __init__(
        self, space: Space, ops: Any, *, constant: float = 0.0, per_op: float = 0.0
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
        self.register_buffer("mixing", torch.as_tensor(mixing, dtype=torch.float32))  # (N, 2, G)
        self.register_buffer("offset", torch.as_tensor(offset, dtype=torch.float32))  # (N, 2)
        of_option = {o.group.index: f for f, o in enumerate(space.ranks)}
        self.register_buffer("places", torch.tensor([p[0] for p in pairs], dtype=torch.int64))
        self.register_buffer(
            "owner",
            torch.tensor([of_option[p[1].group.index] for p in pairs], dtype=torch.int64),
        )

    def parts(self, counts: Tensor) -> tuple[Tensor, Tensor]:
        channels = torch.tensordot(counts, self.mixing, ([-1], [2])) + self.offset  # (..., N, 2)
        each = self.ops(channels) + self.per_op
        whole = self._left(each[..., : self.whole], counts).sum(-1) + self.constant
        saved = each.new_zeros((*each.shape[:-1], len(self.space.ranks)))
        if len(self.places):
            two = each[..., self.whole :].unflatten(-1, (-1, 2)).sum(-1)
            less = self._left(each[..., self.places] - two, counts, self.places)
            saved = saved.index_add(-1, self.owner, less)
        return whole, saved


class LatencyCost(_OpsCost):
    """Seconds on the surrogate's target. Zeroed weights cost what others cost."""

    unit = "s"

    def __init__(self, space: Space, surrogate: Surrogate) -> None:
        composition = surrogate.composition
        super().__init__(
            space,
            surrogate.torch_module(_all_ops(space), alternatives=2 * len(space.pairs())),
            constant=composition.constant_s,
            per_op=composition.per_op_s,
        )
        self.surrogate = surrogate

    def exact(self, counts: Sequence[int]) -> float:
        workloads = self.space.workloads(counts, self.paying(counts))
        predicted = self.surrogate.predict_model(workloads)
        return float(predicted.latency_s) * float(self.correction)


class MacsCost(_OpsCost):
    """Multiply-accumulates. Zeroed weights are multiplied like others."""

    unit = "MACs"

    def __init__(self, space: Space) -> None:
        super().__init__(space, _Macs(_all_ops(space)))

    def exact(self, counts: Sequence[int]) -> float:
        return float(sum(w.macs for w in self.space.workloads(counts, self.paying(counts))))


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


class WeightsCost(Cost):
    """Of the tensors: parameters that are not zero, or the bytes that they take.

    A sparse tensor's bytes are its non-zeros and one bit per weight that tells where they are, or
    all its weights where that is less. Its units are taken to lie in channels that are kept.
    """

    mixing: Tensor
    offset: Tensor
    plain_bits: Tensor
    held: Tensor
    rank: Tensor
    places: Tensor
    ladder: Tensor
    coded: Tensor
    levels: Tensor

    def __init__(self, space: Space, *, as_bytes: bool) -> None:
        graph = space.graph
        names = [n for n in graph.shapes if n not in graph.buffers]
        super().__init__(space, names)
        self.as_bytes, self.unit = as_bytes, "bytes" if as_bytes else "parameters"
        row = {name: t for t, name in enumerate(names)}
        dims = max((len(graph.shapes[n]) for n in names), default=1)
        mixing = np.zeros((len(names), dims, len(space.groups)))
        offset = np.ones((len(names), dims))
        for name, t in row.items():
            offset[t, : len(graph.shapes[name])] = graph.shapes[name]
        for g in graph.prunable:
            for part in (*g.readers, *g.writers):
                if part.name in row:
                    each = int((part.index >= 0).sum()) // g.size
                    mixing[row[part.name], part.dim, g.index] += each
                    offset[row[part.name], part.dim] -= each * g.size
        held = np.zeros((len(names), len(space.groups)))
        for option in space.sparse:
            held[row[option.layer.weight], option.group.index] = option.weights_per_unit
        self.register_buffer("mixing", torch.as_tensor(mixing, dtype=torch.float32))  # (T, D, G)
        self.register_buffer("offset", torch.as_tensor(offset, dtype=torch.float32))  # (T, D)
        bits = [8 * graph.element_bytes.get(n, _BITS // 8) for n in names]
        plain = torch.tensor(bits, dtype=torch.float32)
        self.register_buffer("plain_bits", plain, persistent=False)  # (T,)
        self.register_buffer("held", torch.as_tensor(held, dtype=torch.float32))  # (T, G)
        coded = [row[o.layer.weight] for o in space.bits]
        levels = [o.group.index for o in space.bits]
        self.register_buffer("coded", torch.tensor(coded, dtype=torch.int64))
        self.register_buffer("levels", torch.tensor(levels, dtype=torch.int64))
        ladder = [(0, *o.block.bits, bits[row[o.layer.weight]]) for o in space.bits]  # type: ignore[union-attr]
        self.register_buffer("ladder", torch.tensor(ladder, dtype=torch.float32))  # (C, L + 2)
        ranks = [o.group.index for o in space.ranks]
        places = [row[o.layer.weight] for o in space.ranks]
        self.register_buffer("rank", torch.tensor(ranks, dtype=torch.int64))
        self.register_buffer("places", torch.tensor(places, dtype=torch.int64))

    def parts(self, counts: Tensor) -> tuple[Tensor, Tensor]:
        dims = torch.tensordot(counts, self.mixing, ([-1], [2])) + self.offset  # (..., T, D)
        numel = dims.prod(-1)
        held = torch.tensordot(counts, self.held, ([-1], [1]))
        left = torch.where((self.held != 0).any(-1), held.minimum(numel), numel)
        scale = self.plain_bits / 8 if self.as_bytes else torch.ones_like(self.plain_bits)
        each = scale * left
        if self.as_bytes:
            size = self._bytes(counts, numel)
            each = size * left
            each = torch.where(left < numel, each + numel / 8, each).minimum(size * numel)
        outer = dims[..., self.places, 0]
        inner = dims[..., self.places, 1:].prod(-1)
        saved = scale[self.places] * (outer * inner - counts[..., self.rank] * (outer + inner))
        return self._left(each, counts).sum(-1), self._left(saved, counts, self.places)

    def _bytes(self, counts: Tensor, numel: Tensor) -> Tensor:
        """(..., T) bytes per weight; between two bit widths on the line between them."""
        size = torch.zeros_like(numel) + self.plain_bits / 8
        if not len(self.coded):
            return size
        place = counts[..., self.levels]  # (..., C)
        below = place.detach().floor().long().clamp(0, self.ladder.shape[1] - 2)
        ladder = self.ladder.expand(*below.shape, -1)
        low = ladder.gather(-1, below[..., None])[..., 0]
        high = ladder.gather(-1, below[..., None] + 1)[..., 0]
        bits = low + (place - below) * (high - low)
        return size.index_copy(-1, self.coded, bits / 8)


def _all_ops(space: Space) -> list[Workload]:
    """Every op whole, then the pairs that may stand for some."""
    whole = space.graph.workloads()
    return [*whole, *(w for _, _, first, second in space.pairs() for w in (first, second))]
