"""Bytes of the packed file that a network becomes, as a function of its unit counts."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from latprof.compress.cost._weights import WeightsCost
from latprof.compress.export import CODE_BITS, node_bytes
from latprof.compress.space import Option, Space

__all__ = ["FileBytesCost"]

_FLOAT_BITS, _HALF_BITS = 32, 16


class FileBytesCost(WeightsCost):
    """Every tensor in its smallest encoding, as a packed ONNX file stores it.

    A weight that may be sparse is dense, or a bitmap and its non-zeros; one that may have fewer
    bits is codes, and the ops that decode them. Between two widths it is on the line between them.
    Batch norm that is folded into a convolution is its bias. Where zeros that are none of the
    masks' let a weight be stored in less, the file is smaller.

    Attributes:
        constant: what the file holds besides: ops and names. 0 until a file was measured.
    """

    unit = "bytes"
    constant: Tensor
    numbers: Tensor
    bits: Tensor
    dense: Tensor
    bitmap: Tensor
    per_channel: Tensor

    def __init__(self, space: Space) -> None:
        super().__init__(space)
        self.register_buffer("constant", torch.zeros(()), persistent=False)
        graph = space.graph
        sizes = [graph.element_bytes.get(name, _FLOAT_BITS // 8) for name in self.names]
        norms = space.norms
        for row, name in enumerate(self.names):
            module, _, own = name.rpartition(".")
            if module in norms and (own == "weight" or f"{norms[module]}.bias" in self.names):
                sizes[row] = 0
            elif (
                f"{module}.running_mean" in graph.shapes and own == "weight" and module not in norms
            ):
                sizes[row] *= 3  # its mean and variance are of the same size
        numbers = torch.tensor(sizes, dtype=torch.float32)
        self.register_buffer("numbers", numbers, persistent=False)  # (T,) bytes of each number
        ladders = [self._ladder(option) for option in space.bits]
        for place, name in enumerate(("bits", "dense", "bitmap", "per_channel")):
            rungs = torch.tensor([ladder[place] for ladder in ladders], dtype=torch.float32)
            self.register_buffer(name, rungs, persistent=False)  # (C, L + 2)

    def _ladder(self, option: Option) -> tuple[list[float], list[float], list[float], list[float]]:
        """Of no width, each width, and the weight as it is: bits of a value; bytes besides the
        values, without a bitmap and with one; bytes per output channel."""
        folded = option.layer.path in self.space.norms.values()
        bits, dense, bitmap, per_channel = [0.0], [0.0], [0.0], [0.0]
        for width in option.block.bits:  # type: ignore[union-attr]
            stored = _HALF_BITS if width == _HALF_BITS else min(b for b in CODE_BITS if b >= width)
            grid = stored == CODE_BITS[-1] and option.block.grid != "even"  # type: ignore[union-attr]
            values = "float16" if stored == _HALF_BITS else "grid" if grid else "table"
            table = 4 * 2**width if values == "table" else 0
            bits.append(stored)
            dense.append(node_bytes(values, stored, bitmap=False, factors=folded) + table)
            bitmap.append(node_bytes(values, stored, bitmap=True, factors=folded) + table)
            per_channel.append(4.0 * folded)
        last = node_bytes("float32", _FLOAT_BITS, bitmap=True)
        return [*bits, _FLOAT_BITS], [*dense, 0], [*bitmap, last], [*per_channel, 0]

    def parts(self, counts: Tensor) -> tuple[Tensor, Tensor]:
        dims, numel, left = self.sizes(counts)
        plain = self.numbers * numel
        dense, sparse = plain, self.numbers * left + numel / 8 + self._plain_bitmap
        if len(self.coded):
            channels = dims[..., self.coded, 0]
            bits, dense_more, bitmap_more, each = self._rungs(counts)
            more = channels * each
            n, z = numel[..., self.coded], left[..., self.coded]
            # of one bit, zeros would be a third value
            whole = torch.where(z < n, bits.clamp_min(2), bits) * n / 8 + dense_more + more
            parted = bits * z / 8 + n / 8 + bitmap_more + more
            dense = dense.index_copy(-1, self.coded, whole.minimum(plain[..., self.coded]))
            sparse = sparse.index_copy(-1, self.coded, parted)
        size = torch.where(left < numel, sparse.minimum(dense), dense)
        saved = self.pairs_saved(dims, counts, self.numbers[self.places])
        whole_file = self._left(size, counts).sum(-1) + self.constant
        return whole_file, self._left(saved, counts, self.places)

    @property
    def _plain_bitmap(self) -> int:
        return node_bytes("float32", _FLOAT_BITS, bitmap=True)

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        state_dict.pop(f"{prefix}ladder", None)  # of older versions
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def _rungs(self, counts: Tensor) -> list[Tensor]:
        """Of each coded weight, (..., C): its bits, and the other figures of ``_ladder``."""
        place = counts[..., self.levels]
        below = place.detach().floor().long().clamp(0, self.bits.shape[1] - 2)
        found = []
        for ladder in (self.bits, self.dense, self.bitmap, self.per_channel):
            rungs = ladder.expand(*below.shape, -1)
            low, high = (rungs.gather(-1, (below + up)[..., None])[..., 0] for up in (0, 1))
            found.append(low + (place - below) * (high - low))
        return found
