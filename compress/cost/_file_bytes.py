"""Bytes of the packed file that a network becomes, as a function of its unit counts."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from latprof.compress.cost._weights import WeightsCost
from latprof.compress.export import CODE_BITS, bitmap_bytes, node_bytes, offsets_bytes
from latprof.compress.space import SCALE_BLOCK, Option, Quantize, Space

__all__ = ["RUNGS", "FileBytesCost"]

_FLOAT_BITS, _HALF_BITS = 32, 16
#: What is known of each width, see ``_ladder``.
RUNGS = ("bits", "sparse_bits", "dense", "sparse", "per_scale", "per_channel")


class FileBytesCost(WeightsCost):
    """Every tensor in its smallest encoding, as a packed ONNX file stores it.

    A weight that may be sparse is dense, or its non-zeros and their places; one that may have fewer
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
    outputs: Tensor
    per_block: Tensor

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
        for name in RUNGS:
            rungs = torch.tensor([ladder[name] for ladder in ladders], dtype=torch.float32)
            self.register_buffer(name, rungs, persistent=False)  # (C, L + 2)
        outputs = [option.layer.outputs_dim for option in space.bits]
        self.register_buffer("outputs", torch.tensor(outputs, dtype=torch.int64), persistent=False)
        per_block = [_has_blocks(option) for option in space.bits]
        self.register_buffer("per_block", torch.tensor(per_block), persistent=False)

    def _ladder(self, option: Option) -> dict[str, list[float]]:
        """Of no width, each width, and the weight as it is, with its zeros and without: bits of
        a value, bytes of the decoding ops and tables, bytes per scale; bytes per output channel."""
        block = option.block
        assert isinstance(block, Quantize)
        folded = option.layer.path in self.space.norms.values()
        scaled = block.scales != "tensor"
        found: dict[str, list[float]] = {name: [0.0] for name in RUNGS}
        for width in block.bits:
            if width == 0:
                constant = float(node_bytes("constant", _FLOAT_BITS, sparse=False))
                for name in RUNGS:
                    found[name].append(constant if name == "dense" else 0.0)
                continue
            stored = _HALF_BITS if width == _HALF_BITS else _stored(width)
            values = _values(block, width)
            # Of integer grids some rows reach up, and some down: one zero for all takes a bit more.
            both = width + 1 if values == "rows" and block.grid == "integer" else width
            zeros = values == "rows" and _stored(both) != stored
            table = 4 * 2**width if values == "table" else 0
            padded = values == "rows" and _has_blocks(option) and self._is_padded(option)
            more = {"factors": folded, "padded": padded}
            of_sparse = stored if values != "rows" else _stored(both)
            for name, value in {
                "bits": stored,
                "sparse_bits": of_sparse,
                "dense": node_bytes(values, stored, sparse=False, zeros=zeros, **more) + table,
                "sparse": node_bytes(values, min(of_sparse, 16), sparse=True, **more) + table,
                "per_scale": (5.0 if zeros else 4.0) * scaled * (values == "rows"),
                "per_channel": 4.0 * folded,
            }.items():
                found[name].append(float(value))
        plain = {"bits": _FLOAT_BITS, "sparse_bits": _FLOAT_BITS, "sparse": self._plain_sparse}
        for name, rungs in found.items():
            rungs.append(float(plain.get(name, 0)))
        return found

    def _is_padded(self, option: Option) -> bool:
        inner = math.prod(option.layer.shape[1:])
        return inner > SCALE_BLOCK and inner % SCALE_BLOCK != 0

    def parts(self, counts: Tensor) -> tuple[Tensor, Tensor]:
        dims, numel, left = self.sizes(counts)
        plain = self.numbers * numel
        dense = plain
        sparse = self.numbers * left + self._places_bytes(numel, left) + self._plain_sparse
        if len(self.coded):
            at = self._rungs(counts)
            n, z = numel[..., self.coded], left[..., self.coded]
            channels = dims[..., self.coded, :].gather(
                -1, self.outputs.expand(*n.shape)[..., None]
            )[..., 0]
            stored, scales = self._rows(n, channels)
            more = channels * at["per_channel"] + scales * at["per_scale"]
            stored = torch.where(at["per_scale"] > 0, stored, n)
            # of one bit, zeros would be a third value
            thinned = (z < n) & (at["bits"] >= 1)
            bits = torch.where(thinned, at["bits"].clamp_min(2), at["bits"])
            whole = bits * stored / 8 + at["dense"] + more
            places = self._places_bytes(stored, z, self.coded)
            parted = at["sparse_bits"] * z / 8 + places + at["sparse"] + more
            dense = dense.index_copy(-1, self.coded, whole.minimum(plain[..., self.coded]))
            sparse = sparse.index_copy(-1, self.coded, parted)
        size = torch.where(left < numel, sparse.minimum(dense), dense)
        saved = self.pairs_saved(dims, counts, self.numbers[self.places])
        whole_file = self._left(size, counts).sum(-1) + self.constant
        return whole_file, self._left(saved, counts, self.places)

    def _rows(self, values: Tensor, channels: Tensor) -> tuple[Tensor, Tensor]:
        """Of weights of so many values and output channels (..., C): values in whole blocks, and
        scales."""
        inner = values / channels.clamp_min(1)
        part = inner / SCALE_BLOCK
        blocks = part + (part.ceil() - part).detach()
        size = inner.clamp_max(SCALE_BLOCK)
        padded = torch.where(self.per_block, channels * blocks * size, values)
        return padded, torch.where(self.per_block, channels * blocks, channels)

    def _places_bytes(self, values: Tensor, left: Tensor, rows: Tensor | None = None) -> Tensor:
        """Of where the non-zeros are, among so many values (..., T); ``rows``: of these parameters
        alone."""
        found: Tensor = bitmap_bytes(values).minimum(offsets_bytes(values, left))
        return found

    @property
    def _plain_sparse(self) -> int:
        """Of the ops that put non-zeros of float32 in their places."""
        return node_bytes("float32", _FLOAT_BITS, sparse=True)

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        state_dict.pop(f"{prefix}ladder", None)  # of older versions
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def _rungs(self, counts: Tensor) -> dict[str, Tensor]:
        """Of each coded weight, (..., C): the figures of ``_ladder``."""
        place = counts[..., self.levels]
        below = place.detach().floor().long().clamp(0, self.bits.shape[1] - 2)
        found = {}
        for name in RUNGS:
            rungs = getattr(self, name).expand(*below.shape, -1)
            low, high = (rungs.gather(-1, (below + up)[..., None])[..., 0] for up in (0, 1))
            found[name] = low + (place - below) * (high - low)
        return found


def _values(block: Quantize, width: int) -> str:
    """How a width is stored, as ``Encoding.values`` has it."""
    if width == _HALF_BITS:
        return block.half
    if block.scales != "tensor":
        return "rows"
    grid = _stored(width) == CODE_BITS[-1] and block.grid != "even"
    return "grid" if grid else "table"


def _stored(width: int) -> int:
    """Bits of a code; where codes do not do, of a number."""
    return next((b for b in CODE_BITS if b >= width), _FLOAT_BITS)


def _has_blocks(option: Option) -> bool:
    """Whether a scale is that of a block of inputs."""
    block = option.block
    blocked = isinstance(block, Quantize) and block.scales == f"block-{SCALE_BLOCK}"
    return blocked and not option.layer.inputs_first
