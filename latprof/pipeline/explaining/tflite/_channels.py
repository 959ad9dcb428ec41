"""Counts of channels that are no whole number of blocks, padded with zeros."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from latprof.pipeline.explaining.tflite._candidate import TfliteCandidate
from latprof.pipeline.explaining.tflite._file import TfliteEdit, TfliteFile

__all__ = ["channels"]

_BLOCKS = (4, 8, 16)
#: A count may grow by this part.
_MAX_CHANGE = 0.125
#: Ops that leave channels as they are, and zeros as zeros.
_KEPT = {"HARD_SWISH", "GELU", "LEAKY_RELU", "RELU", "RELU6", "TANH", "AVERAGE_POOL_2D",
         "MAX_POOL_2D"}  # fmt: skip
#: Tensors of one scale for each channel have more than this.
_ONE = 1


@dataclass(frozen=True)
class _Chain:
    """A convolution, what keeps its channels, and the convolution that reads them."""

    count: int
    maker: int
    tied: tuple[int, ...]
    reader: int

    @property
    def ops(self) -> tuple[int, ...]:
        return (self.maker, *self.tied, self.reader)


def channels(file: TfliteFile) -> Iterator[TfliteCandidate]:
    chains = [chain for op in range(len(file.ops)) if (chain := _chain(file, op)) is not None]
    for block in _BLOCKS:
        odd = [(c, new) for c in chains if (new := -(-c.count // block) * block) != c.count
               and new - c.count <= _MAX_CHANGE * c.count]  # fmt: skip
        if not odd:
            continue
        counts = sorted({c.count for c, _ in odd})
        named = ", ".join(map(str, counts[:3])) + (" and others" if len(counts) > 3 else "")
        ops = tuple(sorted({op for chain, _ in odd for op in chain.ops}))
        convs = sum(file.kinds[op] in ("CONV_2D", "DEPTHWISE_CONV_2D") for op in ops)
        yield TfliteCandidate(
            "channels",
            f"{convs} convolutions make or read {named} channels",
            ops,
            f"pad them to multiples of {block} with zeros",
            _pad(file, odd),
        )


def _chain(file: TfliteFile, maker: int) -> _Chain | None:
    if file.kinds[maker] != "CONV_2D" or not _constant(file, maker):
        return None
    count = file.shape(file.outputs(maker)[0])[-1]
    tied, op = [], file.only_reader(maker)
    while op is not None and (file.kinds[op] in _KEPT or _is_depthwise(file, op, count)):
        tied.append(op)
        op = file.only_reader(op)
    if op is None or file.kinds[op] != "CONV_2D" or not _constant(file, op):
        return None
    dense = file.shape(file.inputs(op)[1])[-1] == count  # and not in groups
    return _Chain(count, maker, tuple(tied), op) if dense else None


def _constant(file: TfliteFile, op: int) -> bool:
    """Whether its weights and bias are constants that nothing else reads."""
    weights = file.inputs(op)[1:]
    return len(weights) == 2 and all(
        file.value(t) is not None and len(file.readers(t)) == 1 for t in weights
    )


def _is_depthwise(file: TfliteFile, op: int, count: int) -> bool:
    if file.kinds[op] != "DEPTHWISE_CONV_2D" or not _constant(file, op):
        return False
    return file.shape(file.outputs(op)[0])[-1] == count


def _pad(file: TfliteFile, odd: Sequence[tuple[_Chain, int]]) -> Callable[[TfliteEdit], None]:
    def apply(edit: TfliteEdit) -> None:
        for chain, new in odd:
            more = new - chain.count
            for op in (chain.maker, *chain.tied):
                out = file.outputs(op)[0]
                edit.set_shape(out, (*file.shape(out)[:-1], new))
            for op in (chain.maker, *chain.tied):
                if file.kinds[op] in ("CONV_2D", "DEPTHWISE_CONV_2D"):
                    weight, bias = file.inputs(op)[1:]
                    _grow(edit, weight, 0 if file.kinds[op] == "CONV_2D" else 3, more)
                    _grow(edit, bias, 0, more)
            _grow(edit, file.inputs(chain.reader)[1], 3, more)

    return apply


def _grow(edit: TfliteEdit, tensor: int, axis: int, more: int) -> None:
    value = edit.value(tensor)
    assert value is not None
    widths = [(0, more if d == axis else 0) for d in range(value.ndim)]
    edit.set_value(tensor, np.pad(value, widths))
    scales = edit.tensor(tensor).quantization
    if scales is None or scales.scale is None or len(scales.scale) <= _ONE:
        return
    if scales.quantizedDimension == axis:
        scales.scale = np.pad(np.asarray(scales.scale), (0, more), mode="edge")
        scales.zeroPoint = np.pad(np.asarray(scales.zeroPoint), (0, more))
