"""Which channels the tiles of a sparse weight hold: neighbors among those that stay."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from latprof.compress.space import Option

__all__ = ["Tiles"]


class Tiles(nn.Module):
    """The units of a sparse weight: single weights, or tiles of channels that stay.

    A tile that held a channel which is gone would be no tile in the shrunk weight. So tiles are
    laid anew when channels are chosen: first over those that stay, in their order, then over those
    that do not. A tile's mask is then the mean of what multiplied its weights before.

    Attributes:
        rows, columns: output and input channels in the order in which tiles take them.
    """

    rows: Tensor
    columns: Tensor

    def __init__(self, option: Option) -> None:
        super().__init__()
        self._option = option
        out, inner = option.layer.channels
        self.is_tiled = option.tile != (1, 1)
        self.register_buffer("rows", torch.arange(out), persistent=self.is_tiled)
        self.register_buffer("columns", torch.arange(inner), persistent=self.is_tiled)

    def units(self, weight: Tensor) -> Tensor:
        """A tensor of the weight's shape, unit by unit: (size, weights per unit)."""
        return self._option.units(weight, self._order)

    def per_weight(self, units: Tensor) -> Tensor:
        """Figures of units (size,) in the shape of the weight."""
        return self._option.per_weight(units, self._order)

    def lay(self, alive: Tensor, scale: Tensor, importance: Tensor) -> tuple[Tensor, Tensor]:
        """Lay the tiles over what stays.

        Args:
            alive: (the weight's shape) bool: whether a weight's channels stay.
            scale: what multiplies each unit now, (size,).
            importance: of each unit, (size,).

        Returns:
            The same two of the new tiles; importance is below 0 where nothing stays.
        """
        if not self.is_tiled:
            return scale, importance.masked_fill(~self.units(alive).any(1), -1.0)
        each = self._option.weights_per_unit
        scales, worth = self.per_weight(scale), self.per_weight(importance) / each
        ordered = self._option.layer.ordered(alive)  # (out, in, places)
        self.rows.copy_(_alive_first(ordered.flatten(1).any(1)))
        self.columns.copy_(_alive_first(ordered.transpose(0, 1).flatten(1).any(1)))
        here = self.units(alive)
        left = here.sum(1)
        mean = (self.units(scales) * here).sum(1) / left.clamp_min(1)
        total = (self.units(worth) * here).sum(1).masked_fill(left == 0, -1.0)
        return torch.where(left > 0, mean, self.units(scales).mean(1)), total

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        if self.is_tiled:  # of older versions, whose tiles lay over all channels
            for name, whole in (("rows", self.rows), ("columns", self.columns)):
                state_dict.setdefault(prefix + name, torch.arange(len(whole)))
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    @property
    def _order(self) -> tuple[Tensor, Tensor] | None:
        return (self.rows, self.columns) if self.is_tiled else None


def _alive_first(alive: Tensor) -> Tensor:
    return (~alive).to(torch.uint8).argsort(stable=True)
