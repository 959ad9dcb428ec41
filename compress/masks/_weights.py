"""The weights that a network computes with under its masks, parameter by parameter."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from latprof.compress.graph import multiplied
from latprof.compress.masks._bits import Bits
from latprof.compress.masks._deferred import Masked, Product
from latprof.compress.masks._recompute import recomputed_in
from latprof.compress.masks._scales import Scales
from latprof.compress.masks._swap import Swap
from latprof.compress.masks._tiles import Tiles
from latprof.compress.shrink import gated, split
from latprof.compress.space import Option, Quantize, Space

__all__ = ["Factors", "Weights"]

_NO_MASKS: Mapping[int, Tensor] = MappingProxyType({})


class Factors(nn.Module):
    """A weight as U diag(beta) V, with masks of the channels that it reads."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        left, right = split(weight)
        self.shape = weight.shape
        self.left, self.right = nn.Parameter(left), nn.Parameter(right)

    def forward(
        self, beta: Tensor, masks: Mapping[int, Tensor] = _NO_MASKS, *, defer: bool = False
    ) -> Tensor:
        """
        Args:
            beta: of each rank, (rank,).
            masks: {dim of the weight: of each slice, (size of the dim,)}; of the first two dims.
            defer: leave a matrix to be multiplied out where it is used.
        """
        left: Tensor = self.left * beta.to(self.left.dtype)
        right: Tensor = self.right
        if (mask := masks.get(0)) is not None:
            left = left * mask.to(left.dtype)[:, None]
        if (mask := masks.get(1)) is not None:
            each = mask.to(right.dtype)[:, None]
            right = (right.view(len(right), len(mask), -1) * each).flatten(1)
        if defer and len(self.shape) == 2:
            return Product(left, right)
        return (left @ right).view(self.shape)


class Weights(nn.Module):
    """From the model's parameters and the masks' scales to what takes the parameters' place.

    Weights under LowRank are trained as their factors; the model's own stand still meanwhile.
    Bits come last, and leave zeros zero, so that what is kept lies on its grid exactly.
    """

    def __init__(self, model: nn.Module, space: Space) -> None:
        super().__init__()
        self.space = space
        others = {o.layer.weight for o in space.options}
        readers = {part.name for g in space.graph.prunable for part in g.readers}
        self.swap = Swap(model, others | readers)
        self.factors = nn.ModuleList(
            Factors(model.get_parameter(o.layer.weight)) for o in space.ranks
        )
        self.bits = nn.ModuleList(
            Bits(
                model.get_parameter(o.layer.weight),
                o.block.bits,
                o.block.grid,
                scales=Scales(o.layer, o.block.scales),
                half=o.block.half,
            )
            for o in space.bits
            if isinstance(o.block, Quantize)
        )
        self.tiles = nn.ModuleList(Tiles(o) for o in space.sparse)
        for option in space.ranks:
            model.get_parameter(option.layer.weight).requires_grad_(False)
        self._narrow = [name for name in space.narrow if name not in others]

    def forward(
        self, model: nn.Module, scales: Sequence[Tensor], *, defer: bool = False
    ) -> dict[str, Tensor]:
        """The parameters that change, by name.

        Args:
            scales: per group of the space, (size,); 0 is removed.
            defer: leave weights of layers of few rows to be computed where they are used.
        """
        params = self.swap.parameters(model)
        graph = self.space.graph
        channels = scales[: len(graph.groups)]
        masks = graph.scales(channels)
        changed: dict[str, Tensor] = {}
        for option, factors in zip(self.space.ranks, self.factors, strict=True):
            name = option.layer.weight
            own = {dim: masks.pop((name, dim)) for dim in (0, 1) if (name, dim) in masks}
            changed[name] = factors(scales[option.group.index], own, defer=defer)
        if defer:
            for name in self._narrow:
                if (name, 1) in masks:
                    changed[name] = Masked(params[name], masks.pop((name, 1)))
        changed |= multiplied(params, masks)
        for option, tiles in zip(self.space.sparse, self.tiles, strict=True):
            name = option.layer.weight
            weight = changed.get(name, params[name])
            mask = tiles.per_weight(scales[option.group.index])  # type: ignore[operator]
            changed[name] = weight * mask.to(weight.dtype)
        for option, bits in zip(self.space.bits, self.bits, strict=True):
            name = option.layer.weight
            weight = changed.get(name, params[name])
            coded = bits(weight, scales[option.group.index])
            # What a mask removed is zero on any grid; its gradient still says how important it was.
            changed[name] = coded - coded.detach() * (weight.detach() == 0)
        return changed

    def run(
        self,
        model: nn.Module,
        scales: Callable[[], Sequence[Tensor]],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
    ) -> Any:
        """The model's forward under the scales that are computed for it."""
        if torch.compiler.is_compiling():  # which recomputes within its own graph
            now = scales()
            with gated(model, self._gates(now)):
                return self.swap(model, self(model, now), args, kwargs)
        with self._masked(model, scales):
            return model(*args, **kwargs)

    @contextmanager
    def _masked(self, model: nn.Module, scales: Callable[[], Sequence[Tensor]]) -> Iterator[None]:
        """Within, the model computes under the scales."""
        now = scales()
        changed = self(model, now, defer=True)
        again = partial(self._masked, model, scales)
        with self._placed(model, changed, self._gates(now), again):
            yield

    @contextmanager
    def _placed(
        self,
        model: nn.Module,
        changed: Mapping[str, Tensor],
        gates: Mapping[str, Tensor],
        again: Callable[[], AbstractContextManager[None]],
    ) -> Iterator[None]:
        """Within, these parameters and gates are in place; also where a part is recomputed."""
        same = partial(self._placed, model, changed, gates, again)
        with (
            gated(model, gates),
            self.swap.placed(model, changed),
            recomputed_in(same, again),
        ):
            yield

    def _gates(self, scales: Sequence[Tensor]) -> dict[str, Tensor]:
        return {r.path: scales[r.group.index] for r in self.space.residuals}

    @torch.no_grad()
    def fold(self, model: nn.Module, scales: Sequence[Tensor]) -> None:
        """Write what the masks make of them into the parameters; then masks of 0 and 1 do."""
        for name, value in self(model, scales).items():
            model.get_parameter(name).copy_(value)
        for option, factors in zip(self.space.ranks, self.factors, strict=True):
            factors.left.mul_(scales[option.group.index])  # type: ignore[operator]
        for residual in self.space.residuals:
            if not scales[residual.group.index]:  # without its parameters it is an identity
                for parameter in model.get_submodule(residual.path).parameters():
                    parameter.zero_()

    def refit(self, model: nn.Module, scales: Sequence[Tensor]) -> None:
        """Clip ranges of the bit widths that are not in use, for the weights as they are now."""
        if not self.space.bits:
            return
        params = self.swap.parameters(model)
        channels = scales[: len(self.space.graph.groups)]
        changed = self.space.graph.masked(params, channels)
        keeps = [s.detach() != 0 for s in channels]
        for option, bits in zip(self.space.bits, self._coded(), strict=True):
            weight = changed.get(option.layer.weight, params[option.layer.weight])
            laid = bits.scales.is_blocked and bits.scales.lay(self.alive(option, keeps))
            bits.refit(weight, scales[option.group.index], every=laid)

    @torch.no_grad()
    def spectra(self) -> dict[int, Tensor]:
        """{group of a factored layer: size of each of its ranks, (rank,)}: at first the singular
        values of the layer's weight."""
        return {
            option.group.index: factors.left.norm(dim=0) * factors.right.norm(dim=1)  # type: ignore[operator]
            for option, factors in zip(self.space.ranks, self.factors, strict=True)
        }

    @torch.no_grad()
    def error_reductions(self, place: int, weight: Tensor) -> Tensor:
        """Of the ``place``-th of the layers under Quantize: by how much each bit width has a
        smaller squared error than the one below, (len(bits) + 1,)."""
        errors: Tensor = self.bits[place].errors(weight)  # type: ignore[operator]
        return -torch.diff(errors, prepend=weight.square().sum()[None]).clamp_max(0)

    def tiles_of(self, option: Option) -> Tiles:
        """Of one of the layers under Sparse."""
        tiles: Tiles = self.tiles[self.space.sparse.index(option)]  # type: ignore[assignment]
        return tiles

    def orders(self) -> list[Tensor]:
        """What is chosen beside the masks: the order of channels in tiles, and in blocks of a range
        with those ranges."""
        tiles = [t for t in self.tiles if isinstance(t, Tiles) and t.is_tiled]
        tiled = [each for t in tiles for each in (t.rows, t.columns)]
        blocked = (b for b in self._coded() if b.scales.is_blocked)
        return tiled + [t for b in blocked for t in (b.scales.columns, b.begin, b.stretch)]

    def _coded(self) -> list[Bits]:
        return [b for b in self.bits if isinstance(b, Bits)]

    def alive(self, option: Option, keeps: Sequence[Tensor]) -> Tensor:
        """(the weight's shape) bool: weights that lie in channels that are kept.

        Args:
            keeps: per channel group, (size,) bool.
        """
        shape = option.layer.shape
        alive = torch.ones(shape, dtype=torch.bool)
        for (name, dim), keep in self.space.graph.kept(keeps).items():
            if name == option.layer.weight:
                alive &= keep.view([-1 if d == dim else 1 for d in range(len(shape))])
        return alive
