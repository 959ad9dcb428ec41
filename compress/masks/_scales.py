"""Which weights share the range of their grid: all of a tensor, an output channel, or 32 inputs."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from latprof.compress.space import SCALE_BLOCK, Layer

__all__ = ["Scales"]


class Scales(nn.Module):
    """A weight as rows whose values share a range, and back.

    Blocks of 32 are neighbors among the inputs that stay, so that they are blocks of the shrunk
    weight too. A weight whose first dim is of inputs has a range per output channel instead.

    Args:
        layer: the weight's.
        kind: ``tensor``, ``channel`` or ``block-32``.

    Attributes:
        columns: input channels in the order in which blocks take them.
    """

    columns: Tensor

    def __init__(self, layer: Layer, kind: str) -> None:
        super().__init__()
        self._shape, self._turned = layer.shape, layer.inputs_first
        self.kind = "channel" if kind.startswith("block") and layer.inputs_first else kind
        if self.is_blocked:
            self.register_buffer("columns", torch.arange(layer.shape[1]))

    @property
    def is_blocked(self) -> bool:
        """Whether a range is that of a block."""
        return self.kind.startswith("block")

    @property
    def count(self) -> tuple[int, ...]:
        """Shape of one figure per range: () for a whole tensor, (S,) else."""
        if self.kind == "tensor":
            return ()
        return (len(self.rows(torch.empty(self._shape, device="meta"))),)

    def rows(self, weight: Tensor) -> Tensor:
        """(S, n); what fills up a last block is zero."""
        if self.kind == "tensor":
            return weight.reshape(1, -1)
        if not self.is_blocked:
            return (weight.transpose(0, 1) if self._turned else weight).flatten(1)
        if weight.device.type != "meta":
            weight = weight[:, self.columns]
        flat = weight.flatten(1)
        block = min(SCALE_BLOCK, flat.shape[1])
        return functional.pad(flat, (0, -flat.shape[1] % block)).reshape(-1, block)

    def back(self, rows: Tensor) -> Tensor:
        """From ``rows`` to the weight's shape."""
        shape = self._shape
        if self.kind == "tensor":
            return rows.view(shape)
        if not self.is_blocked:
            first, second, *area = shape
            if not self._turned:
                return rows.view(shape)
            return rows.view(second, first, *area).transpose(0, 1)
        flat = rows.reshape(shape[0], -1)[:, : torch.Size(shape[1:]).numel()]
        return flat.reshape(shape)[:, self.columns.argsort()]

    def lay(self, alive: Tensor) -> bool:
        """Lay blocks over what stays; whether they changed.

        Args:
            alive: (the weight's shape) bool.
        """
        if not self.is_blocked:
            return False
        stays = alive.transpose(0, 1).flatten(1).any(1)
        columns = (~stays).to(torch.uint8).argsort(stable=True).to(self.columns.device)
        changed = not torch.equal(columns, self.columns)
        self.columns.copy_(columns)
        return changed
