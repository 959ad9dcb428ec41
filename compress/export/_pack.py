"""Weights of an ONNX file in fewer bytes, decoded by ops that ONNX Runtime folds as it loads.

DequantizeLinear would be the op for codes, and ONNX Runtime runs that at every call: a convolution
of int8 weights took 1.2 and 1.6 times as long on two machines. What is computed from constants by
Cast, Gather, BitShift and their like is folded once, and what runs then is the float32 file. A
sparse initializer takes 12 bytes per non-zero where 5 or less do, and onnx's checker infers no
shapes from it. docs/guide/file-size.md has the figures.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latprof.compress.export._encodings import (
    PLACES_BLOCK,
    Encoding,
    Floats,
    best_encoding,
    has_bitmap,
    packed_codes,
)
from latprof.compress.export._few_bits import FEW_BITS_OPS
from latprof.compress.export._grids import RowGrid
from latprof.errors import ExportError, UsageError
from latprof.vocabulary import require

__all__ = ["MIN_OPSET", "check_folded", "pack_onnx"]

#: The first with BitwiseAnd.
MIN_OPSET = 18
_ERRORS_ONLY = 3  # of ONNX Runtime's levels of severity
#: Prefix of all names that packing adds, which are short: each stands in the file several times.
_PREFIX = "~"
#: Constants of at most so many bytes are shared by all tensors: shapes, shifts.
_SHARED_BYTES = 64
#: A weight that batch norm was folded into is its factor times the network's, to this share.
_FOLDED = 2.0**-21


def pack_onnx(
    path: Path, weights: Mapping[str, Floats] | None = None, *, half: bool = False
) -> dict[str, str]:
    """Write the file again with each float32 weight in its smallest encoding, and without what the
    exporter notes of where each op came from. {initializer: its encoding}, of those that changed.

    Args:
        path: of an ONNX file; it is replaced.
        weights: the network's, by name. Where the exporter has folded batch norm into one of
            them, its own values are stored, and a factor for each output channel.
        half: round weights to float16 where that is smaller than what is exact.

    Raises:
        UsageError: the file's opset is older than MIN_OPSET.
    """
    onnx = require("onnx", extra="onnx", why="packing an ONNX file")
    model = onnx.load(str(path))
    opset = max((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), default=1)
    if opset < MIN_OPSET:
        raise UsageError(f"{path}: opset {opset} cannot be packed; expected {MIN_OPSET} or later")
    _strip(model)
    plain = model.SerializeToString()
    writer = _Writer(onnx, model.graph)
    outside = {v.name for v in (*model.graph.input, *model.graph.output)}
    outside |= {i for n in model.graph.node if n.op_type in FEW_BITS_OPS for i in n.input}
    for tensor in list(model.graph.initializer):
        if tensor.data_type == onnx.TensorProto.FLOAT and tensor.name not in outside:
            weight = onnx.numpy_helper.to_array(tensor)
            if weight.size:
                writer.write(tensor, weight, (weights or {}).get(tensor.name), half)
    nodes = [*writer.nodes, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    packed = model.SerializeToString()
    if len(packed) >= len(plain):  # constants that encodings share are larger than a tiny network
        path.write_bytes(plain)
        return {}
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(packed)
    return writer.encodings


def check_folded(path: Path) -> None:
    """Raises ExportError where ONNX Runtime would decode a weight at every call."""
    onnx = require("onnx", extra="onnx", why="checking a packed ONNX file")
    runtime = require("onnxruntime", extra="onnx", why="checking a packed ONNX file")
    options = runtime.SessionOptions()
    options.log_severity_level = _ERRORS_ONLY
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    folded = path.with_name(f"{path.stem}.folded.onnx")
    options.optimized_model_filepath = str(folded)
    try:
        runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        ops = onnx.load(str(folded), load_external_data=False).graph.node
    finally:
        folded.unlink(missing_ok=True)
    left = sorted({n.op_type for n in ops if n.output[0].startswith(_PREFIX)})
    if left:
        raise ExportError(
            f"{path.name}: ONNX Runtime runs {', '.join(left)} at every call to decode weights; "
            "export without pack"
        )


def _strip(model: Any) -> None:
    """Leave out what is no part of the function: notes of the exporter, shapes between ops."""
    del model.graph.value_info[:]
    graph = model.graph
    for part in (model, graph, *graph.node, *graph.initializer, *graph.input, *graph.output):
        del part.metadata_props[:]
        part.ClearField("doc_string")


@dataclass
class _Writer:
    """Decoding ops, and the initializers that they read.

    Args:
        graph: whose initializers are replaced.
    """

    onnx: Any
    graph: Any
    nodes: list[Any] = field(default_factory=list)
    encodings: dict[str, str] = field(default_factory=dict)
    _shared: dict[tuple[str, tuple[int, ...], bytes], str] = field(default_factory=dict)
    _count: int = 0

    def write(self, tensor: Any, weight: Floats, own: Floats | None, half: bool) -> None:
        """Replace an initializer by its smallest encoding, if that is not itself."""
        encoding, size = best_encoding(weight)
        stored, factors = weight, None
        if own is not None and (found := _factors(own, weight)) is not None:
            other, other_size = best_encoding(own, found.size)
            if other_size < size:
                encoding, size, stored, factors = other, other_size, own, found
        if half and encoding.bits > 16:
            rounded = _rounded(weight)
            other, other_size = best_encoding(rounded)
            if other_size < size:
                encoding, stored, factors = other, rounded, None
        if encoding.is_plain:
            return
        self.encodings[tensor.name] = str(encoding)
        name, shape = tensor.name, list(weight.shape)
        self.graph.initializer.remove(tensor)
        last = name if factors is None else self._name()
        if encoding.rows is not None:
            self._rows(encoding, encoding.rows, last)
        elif encoding.values == "constant":
            value = self.onnx.numpy_helper.from_array(encoding.data)
            self._op("ConstantOfShape", [self._hold(np.array(shape))], last, value=value)
        elif encoding.sparse:
            self._sparse(encoding, shape, np.flatnonzero(stored), last)
        else:
            self._dense(encoding, shape, last)
        if factors is not None:
            self._op("Mul", [last, self._hold(factors)], name)

    def _dense(self, e: Encoding, shape: list[int], out: str) -> None:
        """All values of a tensor of this shape."""
        if e.bits >= 8:
            self._values(e, e.data.reshape(shape), out)
            return
        codes = self._unpacked(e.data, e.bits)
        values = self._op("Gather", [self._hold(e.table), codes])
        self._shaped(values, shape, e.data.size * e.bits % 8 != 0, out)

    def _values(self, e: Encoding, data: NDArray[Any], out: str) -> None:
        """Values of 8 bits and more, of the shape of ``data``."""
        held = self._halves(data) if e.values == "bfloat16" else self._hold(data)
        types = self.onnx.TensorProto
        if e.values in ("float16", "bfloat16"):
            self._op("Cast", [held], out, to=types.FLOAT)
        elif e.values == "grid":
            codes = self._op("Cast", [held], to=types.FLOAT)
            steps = self._op("Sub", [codes, self._hold(np.float32(e.zero))])
            self._op("Mul", [steps, self._hold(np.float32(e.scale))], out)
        else:
            codes = self._op("Cast", [held], to=types.INT32)
            self._op("Gather", [self._hold(e.table), codes], out)

    def _rows(self, e: Encoding, grid: RowGrid, out: str) -> None:
        """Whole steps, row by row, times the step of each."""
        rows, n = grid.steps.shape
        steps = self._name()
        if e.sparse:
            self._sparse(e, [rows, n], np.flatnonzero(grid.steps), steps)
        else:
            codes = self._name()
            if e.bits >= 8:
                held = self._hold(e.data.reshape(rows, n))
                self._op("Cast", [held], codes, to=self.onnx.TensorProto.FLOAT)
            else:
                packed = self._unpacked(e.data, e.bits)
                whole = self._op("Cast", [packed], to=self.onnx.TensorProto.FLOAT)
                self._shaped(whole, [rows, n], e.data.size * e.bits % 8 != 0, codes)
            if e.zeros is None:
                self._op("Sub", [codes, self._hold(np.float32(e.zero))], steps)
            else:
                held = self._hold(e.zeros[:, None])
                offset = self._op("Cast", [held], to=self.onnx.TensorProto.FLOAT)
                self._op("Sub", [codes, offset], steps)
        values = self._op("Mul", [steps, self._hold(grid.scale[:, None])])
        first, *rest = grid.shape
        if grid.is_padded:
            inner = int(np.prod(rest))
            flat = self._op("Reshape", [values, self._hold(np.array([first, -1]))])
            ends = [self._hold(np.array([end])) for end in (0, inner, 1)]
            values = self._op("Slice", [flat, *ends])
        shape = self._hold(np.array(grid.shape, np.int64))
        if not grid.axis:
            self._op("Reshape", [values, shape], out)
            return
        moved = self._op("Reshape", [values, shape])
        self._op("Transpose", [moved], out, perm=[1, 0, *range(2, len(grid.shape))])

    def _halves(self, bits: NDArray[Any]) -> str:
        """Name of an initializer of bfloat16, given by its bits."""
        name, kind = self._name(), self.onnx.TensorProto.BFLOAT16
        raw = bits.astype("<u2").tobytes()
        tensor = self.onnx.helper.make_tensor(name, kind, bits.shape, raw, raw=True)
        self.graph.initializer.append(tensor)
        return name

    def _sparse(self, e: Encoding, shape: list[int], at: NDArray[Any], out: str) -> None:
        """The stored values at these places of the flat weight, and zeros elsewhere."""
        if e.values == "float32":
            values = self._hold(e.data)
        elif e.bits >= 8 and e.rows is None:
            self._values(e, e.data, values := self._name())
        elif e.rows is not None:
            self._few_steps(e, values := self._name())
        else:
            flat = self._flat(self._unpacked(e.data, e.bits))
            values = self._op("Gather", [self._hold(e.table), flat])
        size = int(np.prod(shape))
        write = self._by_bitmap if has_bitmap(size, at.size) else self._by_offsets
        write(values, size, shape, at, out)

    def _by_bitmap(
        self, values: str, size: int, shape: list[int], at: NDArray[Any], out: str
    ) -> None:
        some = self._op("Concat", [self._hold(np.zeros(1, np.float32)), values], axis=0)
        mask = np.zeros(size, np.uint8)
        mask[at] = 1
        here = self._flat(self._unpacked(mask, 1))
        number = self._op("CumSum", [here, self._hold(np.array(0))])
        place = self._op("Mul", [number, here])  # 0, where a zero stands, but for the non-zeros
        self._shaped(self._op("Gather", [some, place]), shape, size % 8 != 0, out)

    def _by_offsets(
        self, values: str, size: int, shape: list[int], at: NDArray[Any], out: str
    ) -> None:
        """A block begins at as many non-zeros as those before it have; so the number of a value's
        block is how many begin until there."""
        int64, first = self.onnx.TensorProto.INT64, self._hold(np.array(0))
        one = self.onnx.numpy_helper.from_array(np.ones(1, np.int64))
        none = self.onnx.numpy_helper.from_array(np.zeros(1, np.int64))
        counts = np.bincount(at // PLACES_BLOCK, minlength=-(-size // PLACES_BLOCK))
        held = self._op("Cast", [self._hold(counts.astype(np.uint16))], to=int64)
        ends = self._op("CumSum", [held, first])
        begins = self._op("ConstantOfShape", [self._hold(np.array([counts.size]))], value=one)
        empty = self._op("ConstantOfShape", [self._hold(np.array([at.size + 1]))], value=none)
        steps = self._op("ScatterElements", [empty, ends, begins], axis=0, reduction="add")
        blocks = self._op("CumSum", [steps, first])
        bounds = [self._hold(np.array([end])) for end in (0, at.size)]
        own = self._op("Slice", [blocks, *bounds])
        values = self._op("Slice", [values, *bounds])  # without those that fill up the last byte
        start = self._op("Mul", [own, self._hold(np.array(PLACES_BLOCK))])
        offsets = self._hold((at % PLACES_BLOCK).astype(np.uint8))
        place = self._op("Add", [start, self._op("Cast", [offsets], to=int64)])
        zeros = self._op("ConstantOfShape", [self._hold(np.array([size]))])
        whole = self._op("ScatterElements", [zeros, place, values], axis=0)
        self._op("Reshape", [whole, self._hold(np.array(shape, np.int64))], out)

    def _few_steps(self, e: Encoding, out: str) -> None:
        """Whole steps of the non-zeros, flat."""
        byte = e.bits >= 8
        codes = self._hold(e.data) if byte else self._flat(self._unpacked(e.data, e.bits))
        whole = self._op("Cast", [codes], to=self.onnx.TensorProto.FLOAT)
        self._op("Sub", [whole, self._hold(np.float32(e.zero))], out)

    def _unpacked(self, codes: NDArray[Any], bits: int) -> str:
        """Codes that share bytes, the first in the lowest bits: int32, (bytes, codes per byte)."""
        packed = packed_codes(codes, bits)[:, None]
        by = self._hold((np.arange(8 // bits) * bits).astype(np.uint8))
        mask = self._hold(np.array(2**bits - 1, np.uint8))
        shifted = self._op("BitShift", [self._hold(packed), by], direction="RIGHT")
        low = self._op("BitwiseAnd", [shifted, mask])
        return self._op("Cast", [low], to=self.onnx.TensorProto.INT32)

    def _flat(self, name: str) -> str:
        return self._op("Reshape", [name, self._hold(np.array([-1]))])

    def _shaped(self, values: str, shape: list[int], padded: bool, out: str) -> None:
        """Values in this shape; without those that only fill up the last byte."""
        if padded:
            ends = [self._hold(np.array([end])) for end in (0, int(np.prod(shape)))]
            values = self._op("Slice", [self._flat(values), *ends])
        self._op("Reshape", [values, self._hold(np.array(shape, np.int64))], out)

    def _op(self, kind: str, inputs: list[str], out: str = "", **attributes: Any) -> str:
        out = out or self._name()
        self.nodes.append(self.onnx.helper.make_node(kind, inputs, [out], **attributes))
        return out

    def _hold(self, array: Any) -> str:
        """Name of an initializer."""
        array = np.asarray(array)
        if array.nbytes > _SHARED_BYTES:
            return self._add(array)
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._shared:
            self._shared[key] = self._add(array)
        return self._shared[key]

    def _add(self, array: NDArray[Any]) -> str:
        name = self._name()
        self.graph.initializer.append(self.onnx.numpy_helper.from_array(array, name))
        return name

    def _name(self) -> str:
        self._count += 1
        return _PREFIX + np.base_repr(self._count, 36)


def _rounded(weight: Floats) -> Floats:
    """To float16, within its range."""
    most = np.finfo(np.float16).max
    near: Floats = weight.clip(-most, most).astype(np.float16).astype(np.float32)
    return np.where(np.isnan(weight), weight, near)


def _factors(own: Floats, weight: Floats) -> Floats | None:
    """Of each output channel, what the network's weight was multiplied by; None where it was not
    so, or not at all. Shaped to multiply the weight."""
    if own.shape != weight.shape or own.ndim < 3 or np.array_equal(own, weight):
        return None
    for dim in (0, 1):  # of a convolution, of a transposed one
        over = tuple(d for d in range(own.ndim) if d != dim)
        exact = own.astype(np.float64)
        squares = (exact * exact).sum(over, keepdims=True)
        found = (exact * weight).sum(over, keepdims=True) / np.where(squares == 0, 1.0, squares)
        factors: Floats = found.astype(np.float32)
        if np.all(np.abs(own * factors - weight) <= _FOLDED * np.abs(weight)):
            return factors
    return None
