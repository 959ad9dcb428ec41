"""What layers under Quantize take with weights of few bits, where the table has rows of such."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from latprof.compress.export import choose_width, measured_widths
from latprof.compress.space import Option, Quantize, Space
from latprof.vocabulary import format_s
from latprof.workloads import WEIGHT_BITS, MatMul, Workload

if TYPE_CHECKING:
    from latprof.surrogate import Surrogate

__all__ = ["FewBits", "Unpaid", "storing_widths"]

#: A form that is predicted to take more than this share of the float32 layer's time saves nothing:
#: predictions are no nearer.
_MOST_SHARE = 0.97
_BYTE = 8


def storing_widths(block: Quantize, level: int, runtime: str) -> tuple[int, ...]:
    """Widths in which a product can store the codes of a weight at this count of a layer's bits.
    Weights of 0 bits are zeros, which any width holds.

    TFLite has a scale per output, and codes about zero, as ONNX Runtime has of 8 bits: those of an
    integer grid, whose zero may be anywhere, need a bit more. Of 2 and 4 bits ONNX Runtime also has
    a scale per block, and any zero.

    Args:
        level: 1 for the fewest of ``block.bits``; one more than there are for the weight as it is.
        runtime: of the table.
    """
    if block.grid == "even" or not 1 <= level <= len(block.bits):
        return ()
    bits = block.bits[level - 1]
    about_zero = bits + (block.grid == "integer" and bits > 0)
    by_output = tuple(b for b in WEIGHT_BITS if b >= about_zero)
    if block.scales.startswith("block"):
        by_output = ()
    if runtime == "tflite":
        return by_output
    return tuple(b for b in WEIGHT_BITS if (b in by_output if b == _BYTE else b >= bits))


@dataclass(frozen=True)
class Unpaid:
    """A layer that no number of bits makes faster.

    Args:
        layer: its name.
        product: what it computes, at full size.
        seconds: predicted, by bits; 0 for float32.
    """

    layer: str
    product: MatMul
    seconds: dict[int, float]

    def __str__(self) -> str:
        each = ", ".join(
            f"{format_s(s)} {f'at {bits} bits' if bits else 'in float32'}"
            for bits, s in self.seconds.items()
        )
        w = self.product
        rows = w.m * w.batch
        return f"{rows} row{'s' * (rows > 1)} of {w.k} to {w.n}: {each}"


@dataclass(frozen=True)
class _Coded:
    """An op of a layer under Quantize: its place among the graph's ops, and at full size."""

    option: Option
    op: int
    product: MatMul


class FewBits(nn.Module):
    """What each layer saves by having few bits; nothing where the table has no rows of such.

    Weights of a grid of b bits may be stored in more: the layer takes the least time of those.

    Args:
        first: place of the first of ``forms`` among all ops that are looked up.

    Attributes:
        forms: linear layers with weights of few bits, at full size, layer by layer, (J * W,).
        widths: (W,) bits of the forms of each.
    """

    allowed: Tensor  # (L + 1, W) whether a width holds the grid of a level
    levels: Tensor  # (J,) the group that counts a layer's bits
    ops: Tensor  # (J,) its op

    def __init__(self, space: Space, surrogate: Surrogate, first: int) -> None:
        super().__init__()
        self.space, self.surrogate, self.first = space, surrogate, first
        self.widths = measured_widths(surrogate)
        self._runtime = surrogate.target.runtime
        self.coded = [
            _Coded(option, n, workload)
            for option in space.bits
            if option.layer.kind == "linear"
            for n in option.layer.ops
            if isinstance(workload := space.graph.ops[n].workload, MatMul)
            and workload.weights
            and workload.dtype == "float32"
        ]
        if not self.widths:
            self.coded = []
        self.forms: list[Workload] = [
            each.product.with_weight_bits(b) for each in self.coded for b in self.widths
        ]
        allowed = np.zeros((1, len(self.widths)))
        if self.coded:
            block = self.coded[0].option.block  # one for all layers
            assert isinstance(block, Quantize)
            rungs = [self._storing(block, max(n, 1)) for n in range(len(block.bits) + 2)]
            allowed = np.array([[w in stores for w in self.widths] for stores in rungs])
        self._keep("allowed", torch.as_tensor(allowed, dtype=torch.float32))
        levels = [each.option.group.index for each in self.coded]
        self._keep("levels", torch.tensor(levels, dtype=torch.int64))
        self._keep("ops", torch.tensor([each.op for each in self.coded], dtype=torch.int64))

    def _storing(self, block: Quantize, level: int) -> tuple[int, ...]:
        return storing_widths(block, level, self._runtime)

    def _keep(self, name: str, tensor: Tensor) -> None:
        self.register_buffer(name, tensor, persistent=False)

    def saved(self, each: Tensor, counts: Tensor) -> Tensor:
        """(..., J) seconds less at these counts (..., G); between two widths on the line.

        Args:
            each: (..., N) seconds of all ops that are looked up.
        """
        best = self._best(each)
        place = counts[..., self.levels]
        below = place.detach().floor().long().clamp(0, len(self.allowed) - 2)
        low, high = (best.gather(-1, (below + up)[..., None])[..., 0] for up in (0, 1))
        return low + (place - below) * (high - low)

    def _best(self, each: Tensor) -> Tensor:
        """(..., J, L + 1) seconds less at each level."""
        forms = each[..., self.first : self.first + len(self.forms)]
        forms = forms.reshape(*forms.shape[:-1], -1, len(self.widths))  # (..., J, W)
        whole = each[..., self.ops][..., None]
        less = torch.where(forms < _MOST_SHARE * whole, whole - forms, 0.0)
        return (less[..., None, :] * self.allowed).amax(-1)

    def at(
        self,
        counts: Sequence[int],
        ops: Sequence[Sequence[Workload]],
        others: Sequence[Workload],
    ) -> list[list[Workload]]:
        """Ops as they are at these counts, see ``Space.ops``, with the widths that take the least
        time.

        Args:
            others: what the model computes besides.
        """
        became = [list(each) for each in ops]
        if not self.coded:
            return became
        reload_fraction = self.surrogate.reload_fraction([*itertools.chain(*ops), *others])
        for coded in self.coded:
            assert isinstance(coded.option.block, Quantize)
            widths = self._storing(coded.option.block, counts[coded.option.group.index])
            if not widths or len(became[coded.op]) != 1:
                continue
            (product,) = became[coded.op]
            assert isinstance(product, MatMul)
            bits = choose_width(self.surrogate, reload_fraction, product, widths)
            became[coded.op] = [product.with_weight_bits(bits)]
        return became

    def least_levels(self) -> dict[int, int]:
        """{group of a layer's bits: the count at which it takes the least time}."""
        found = {}
        for coded in self.coded:
            block = coded.option.block
            assert isinstance(block, Quantize)
            levels = range(coded.option.group.minimum, len(block.bits) + 1)
            first = next((n for n in levels if self._storing(block, n)), None)
            if first is not None:
                found[coded.option.group.index] = first
        return found

    def useful_bits(self) -> tuple[int, ...]:
        """Of the block's widths those that save time: of those that are stored alike, the most."""
        if not self.coded:
            return ()
        block = self.coded[0].option.block
        assert isinstance(block, Quantize)
        stores = {b: self._storing(block, n) for n, b in enumerate(block.bits, 1)}
        held = (
            max((b for b, w in stores.items() if width in w), default=0) for width in self.widths
        )
        return tuple(sorted({b for b in held if b})) or block.bits

    def paying(self, each: Tensor) -> set[str]:
        """Weights of the layers that some width makes faster, in any row of ``each`` (..., N)."""
        saves = self._best(each).amax(-1).reshape(-1, len(self.coded)).amax(0) > 0
        pairs = zip(self.coded, saves.tolist(), strict=True)
        return {coded.option.layer.weight for coded, pays in pairs if pays}

    def unpaid(self, paying: set[str]) -> list[Unpaid]:
        """The other layers, with what is predicted of each."""
        found = []
        reload_fraction = self.surrogate.reload_fraction(self.space.graph.workloads())
        for coded in self.coded:
            if coded.option.layer.weight not in paying:
                forms = [coded.product, *map(coded.product.with_weight_bits, self.widths)]
                each_s = self.surrogate.shares(forms, reload_fraction).tolist()
                seconds = dict(zip((0, *self.widths), each_s, strict=True))
                found.append(Unpaid(coded.option.layer.title, coded.product, seconds))
        return found
