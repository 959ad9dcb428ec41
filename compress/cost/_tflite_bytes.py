"""Bytes of the packed TFLite file that a network becomes, as a function of its unit counts."""

from __future__ import annotations

import torch
from torch import Tensor

from latprof.compress.cost._file_bytes import RUNGS, FileBytesCost
from latprof.compress.export import TFLITE_OP_BYTES, TFLITE_SCALE_BYTES, TFLITE_SPARSE_BYTES
from latprof.compress.space import Option, Quantize, Space

__all__ = ["TfliteBytesCost"]

#: A place in a row of so many is one byte, in a longer one two.
_SHORT = 256
_FLOAT_BITS, _HALF_BITS, _CODE_BITS = 32, 16, 8


class TfliteBytesCost(FileBytesCost):
    """As its base, for files in which codes have 8 bits, scales are those of a tensor or of its
    channels, and the place of each non-zero is a byte or two.
    """

    place_bytes: Tensor

    def __init__(self, space: Space) -> None:
        super().__init__(space)
        inner = {o.layer.weight: o.layer.shape[1] for o in (*space.sparse, *space.bits)}
        places = [1.0 + (inner.get(name, 1) > _SHORT) for name in self.names]
        self.register_buffer("place_bytes", torch.tensor(places), persistent=False)  # (T,)

    def _ladder(self, option: Option) -> dict[str, list[float]]:
        block = option.block
        assert isinstance(block, Quantize)
        found: dict[str, list[float]] = {name: [0.0] for name in RUNGS}
        folded = option.layer.path in self.space.norms.values()
        sparse = TFLITE_OP_BYTES + TFLITE_SPARSE_BYTES
        for width in (*block.bits, _FLOAT_BITS):
            stored = _stored_bits(block, width, folded)
            op = TFLITE_OP_BYTES if 0 < stored < _FLOAT_BITS else 0
            channels = stored == _CODE_BITS and (folded or block.scales != "tensor")
            for name, value in {
                "bits": stored,
                "sparse_bits": stored,
                "dense": op if stored else sparse,
                "sparse": op + sparse,
                "per_scale": TFLITE_SCALE_BYTES * channels,
                "per_channel": 0,
            }.items():
                found[name].append(float(value))
        return found

    def _places_bytes(self, values: Tensor, left: Tensor, rows: Tensor | None = None) -> Tensor:
        return left * (self.place_bytes if rows is None else self.place_bytes[rows])

    @property
    def _plain_sparse(self) -> int:
        return TFLITE_OP_BYTES + TFLITE_SPARSE_BYTES


def _stored_bits(block: Quantize, width: int, folded: bool) -> int:
    """Of a value; 32 where the file has no such numbers, 0 of zeros.

    Args:
        folded: each channel is multiplied by a factor of batch norm's.
    """
    if width == 0:
        return 0
    if width == _HALF_BITS:
        return _HALF_BITS if block.half == "float16" and not folded else _FLOAT_BITS
    if width > _CODE_BITS or block.grid == "even" or block.scales.startswith("block"):
        return _FLOAT_BITS
    return _CODE_BITS
