"""How a weight may be stored in fewer bytes, and how many those are.

Two questions are answered for each tensor. Where its values come from: ``float32``, ``float16``
or ``bfloat16`` (where every value is one), codes of 1, 2, 4 or 8 bits into a table of its distinct
values, or such codes of whole steps, each output channel or block of 32 inputs with a step of its
own; or one value that all have. And whether its zeros are stored: where they are not, the values
are those of the non-zeros alone, and a bitmap of one bit per weight says where these are, or a byte
for each, its place in a block of 256 weights. All give back each value exactly.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latprof.compress.export._grids import RowGrid, row_grids

__all__ = [
    "CODE_BITS",
    "PLACES_BLOCK",
    "Encoding",
    "Floats",
    "best_encoding",
    "bitmap_bytes",
    "has_bitmap",
    "node_bytes",
    "offsets_bytes",
    "packed_codes",
]

Floats = NDArray[np.float32]

#: Widths of codes, which divide a byte.
CODE_BITS = (1, 2, 4, 8)
#: Neighboring weights, of which two bytes say how many are not zero.
PLACES_BLOCK = 256
#: Bytes of names, shapes and decoding ops in an ONNX file, by kind of values; the places of
#: non-zeros, and factors per output channel, add theirs. Measured of networks of twenty layers;
#: names differ.
_NODE_BYTES = {
    "float32": 0, "float16": 27, "bfloat16": 27, "grid": 69, "table": 145, "table8": 67,
    "rows": 230, "rows8": 105, "constant": 85,
}  # fmt: skip
_PLACES_BYTES = 285
#: By how much those of a byte each take more than a bitmap.
_OFFSETS_BYTES = 285
_FACTOR_BYTES = 43
#: Of ``rows``: a zero per row, and rows that are longer than the weight's.
_ZEROS_BYTES, _PADDED_BYTES = 44, 61
#: Distances from a rounded scale that are tried, in units of its last place.
_NEAR = range(-4, 5)


@dataclass(frozen=True)
class Encoding:
    """One way to store a tensor.

    Args:
        values: ``float32``, ``float16``, ``bfloat16``, ``table`` (codes into ``table``), ``grid``
            (codes of 8 bits; a value is (code - zero) * scale), ``rows`` (the same with a scale
            per row, and 1 to 8 bits) or ``constant`` (all are the same).
        sparse: the zeros are left out.
        data: the values or codes that are stored, flat.
        bits: of a value.
        table: of ``table``, the distinct values, ascending.
        zero, scale: of ``grid``; of ``rows`` its zero.
        rows: of ``rows``, how they lie, and their scales.
        zeros: of ``rows``, a zero per row where one for all does not do, (S,).
    """

    values: str
    sparse: bool
    data: NDArray[np.generic]
    bits: int
    table: Floats | None = None
    zero: int = 0
    scale: float = 1.0
    rows: RowGrid | None = None
    zeros: NDArray[np.uint8] | None = None

    @property
    def is_plain(self) -> bool:
        """Whether it is stored as it is."""
        return self.values == "float32" and not self.sparse

    def __str__(self) -> str:
        if self.values == "constant":
            return f"{float(self.data[0]):g} everywhere"
        values = self.values if "float" in self.values else f"{self.bits}-bit codes"
        if self.rows is not None:
            values += f" with {self.rows.scale.size} scales"
        return f"{values} of the non-zeros" if self.sparse else values


def packed_codes(codes: NDArray[Any], bits: int) -> NDArray[np.uint8]:
    """Codes (..., n) that share bytes, the first in the lowest bits: (..., ceil(n * bits / 8))."""
    each = 8 // bits
    fill_up = [(0, 0)] * (codes.ndim - 1) + [(0, -codes.shape[-1] % each)]
    whole = np.pad(codes, fill_up).astype(np.uint8)
    shifts = (np.arange(each) * bits).astype(np.uint8)
    apart = whole.reshape(*whole.shape[:-1], -1, each) << shifts
    packed: NDArray[np.uint8] = np.bitwise_or.reduce(apart, axis=-1)
    return packed


def bitmap_bytes(weights: Any) -> Any:
    """Of one bit for each of so many weights."""
    return weights / 8


def offsets_bytes(weights: Any, non_zeros: Any) -> Any:
    """Of a byte for each non-zero and two for each block, and of the ops that these take more."""
    return non_zeros + 2 * weights / PLACES_BLOCK + _OFFSETS_BYTES


def has_bitmap(weights: int, non_zeros: int) -> bool:
    """Whether that is the smaller of both."""
    return bool(bitmap_bytes(weights) <= offsets_bytes(weights, non_zeros))


def node_bytes(
    values: str,
    bits: int,
    *,
    sparse: bool,
    factors: bool = False,
    zeros: bool = False,
    padded: bool = False,
) -> int:
    """Bytes of the ops that decode a tensor, about; those of ``offsets_bytes`` come to them.

    Args:
        values, bits, sparse: as ``Encoding`` has them.
        factors: it is multiplied by a factor per output channel afterwards.
        zeros: each row has a zero of its own.
        padded: rows are filled up to whole blocks.
    """
    kind = f"{values}8" if values in ("table", "rows") and bits == CODE_BITS[-1] else values
    more = _FACTOR_BYTES * factors + _ZEROS_BYTES * zeros + _PADDED_BYTES * padded
    return _NODE_BYTES[kind] + _PLACES_BYTES * sparse + more


def best_encoding(weight: Floats, factors: int = 0) -> tuple[Encoding, float]:
    """The smallest one of a tensor, and its bytes.

    Args:
        weight: of any shape.
        factors: channels that are multiplied by a factor of their own afterwards; 0: none.
    """
    flat = np.ascontiguousarray(weight, np.float32).ravel()
    options = [(each, _bytes(each, flat.size, factors)) for each in _encodings(flat)]
    best = min(options, key=lambda option: option[1])
    if best[0].values in ("float32", "float16", "bfloat16") or best[0].bits == CODE_BITS[-1]:
        rows = (e for g in row_grids(weight) for e in _of_rows(g))
        best = min([best, *((e, _bytes(e, flat.size, factors)) for e in rows)], key=lambda o: o[1])
    return best


def _bytes(encoding: Encoding, weights: int, factors: int) -> float:
    numbers: float = 0 if encoding.table is None else encoding.table.size
    if encoding.rows is not None:
        weights = encoding.rows.steps.size
        zeros = 0 if encoding.zeros is None else encoding.zeros.size
        numbers = encoding.rows.scale.size + zeros / 4
    size = encoding.data.size * encoding.bits / 8 + 4 * (numbers + factors)
    if encoding.sparse:
        size += min(bitmap_bytes(weights), offsets_bytes(weights, encoding.data.size))
    return size + node_bytes(
        encoding.values,
        encoding.bits,
        sparse=encoding.sparse,
        factors=bool(factors),
        zeros=encoding.zeros is not None,
        padded=encoding.rows is not None and encoding.rows.is_padded,
    )


def _encodings(flat: Floats) -> Iterator[Encoding]:
    if (flat.view(np.uint32) == flat.view(np.uint32)[0]).all():
        yield Encoding("constant", False, flat[:1], 32)
    kept = flat[flat != 0]
    for sparse, values in ((False, flat), (True, kept)):
        if sparse and not 0 < kept.size < flat.size:
            continue
        yield Encoding("float32", sparse, values, 32)
        with np.errstate(over="ignore"):  # the comparison finds infinities
            half = values.astype(np.float16)
        if np.array_equal(half.astype(np.float32), values):
            yield Encoding("float16", sparse, half, 16)
        if not (values.view(np.uint32) & 0xFFFF).any():
            yield Encoding("bfloat16", sparse, (values.view(np.uint32) >> 16).astype(np.uint16), 16)
        table = _distinct(values)
        if table is None:
            continue
        codes = np.searchsorted(table, values).astype(np.uint8)
        bits = next(b for b in CODE_BITS if table.size <= 2**b)
        yield Encoding("table", sparse, codes, bits, table)
        if bits == CODE_BITS[-1] and (grid := _grid(table)) is not None:
            steps, scale = grid
            shifted = (steps - steps[0]).astype(np.uint8)[codes]
            yield Encoding("grid", sparse, shifted, 8, None, -int(steps[0]), float(scale))


def _of_rows(grid: RowGrid) -> Iterator[Encoding]:
    """All codes, or those of the non-zeros."""
    steps = grid.steps
    low, high = int(steps.min(initial=0)), int(steps.max(initial=0))
    least = steps.min(1).clip(max=0)  # (S,)
    spread = int((steps.max(1).clip(min=0) - least).max())
    together, apart = _code_bits(high - low), _code_bits(spread)
    if apart is None:
        return
    if together == apart:
        codes = (steps - low).astype(np.uint8)
        yield Encoding("rows", False, codes.ravel(), together, None, -low, 1.0, grid)
    else:
        codes = (steps - least[:, None]).astype(np.uint8)
        zeros = (-least).astype(np.uint8)
        yield Encoding("rows", False, codes.ravel(), apart, None, 0, 1.0, grid, zeros)
    kept = steps[steps != 0]
    if together is not None and 0 < kept.size < steps.size:
        codes = (kept - low).astype(np.uint8)
        yield Encoding("rows", True, codes, together, None, -low, 1.0, grid)


def _code_bits(steps: int) -> int | None:
    return next((b for b in CODE_BITS if steps < 2**b), None)


def _distinct(values: Floats) -> Floats | None:
    """The distinct values, ascending; None where there are too many for codes, or NaN."""
    most = 2 ** CODE_BITS[-1]
    few = np.unique(values[: 4 * most])
    if few.size > most or not np.isfinite(values).all():
        return None
    found: Floats = np.unique(values)
    return found if found.size <= most else None


def _grid(table: Floats) -> tuple[NDArray[np.int64], np.float32] | None:
    """(steps, scale) with table == steps * scale exactly, over at most 256 steps."""
    exact = table.astype(np.float64)
    gap = float(np.diff(exact).min())
    for _ in range(3):  # the least gap is rounded, and all values together less so
        steps = np.round(exact / gap)
        if not 0 < np.abs(steps).max() < 2**16:
            return None
        gap = float(exact @ steps / (steps @ steps))
    if steps[-1] - steps[0] > 2 ** CODE_BITS[-1] - 1:
        return None
    scale = np.float32(gap)
    for off in _NEAR:
        near = np.float32(scale + off * np.spacing(scale))
        if np.array_equal(steps.astype(np.float32) * near, table):
            return steps.astype(np.int64), near
    return None
