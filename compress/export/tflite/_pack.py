"""Weights of a TFLite file in fewer bytes, decoded once, as LiteRT loads the file.

What DEQUANTIZE and DENSIFY read from constants, XNNPACK decodes when it takes the graph, and runs
the float32 network then; other kernels keep what they once decoded. int4 is none of these: a
convolution of int4 weights through DEQUANTIZE took 3 to 4 times as long. docs/guide/file-size.md
has the figures.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latprof.compress.export._grids import Floats
from latprof.compress.export.tflite._codes import codes_of
from latprof.compress.export.tflite._file import Codes, TfliteFile
from latprof.errors import ExportError
from latprof.vocabulary import require

__all__ = [
    "TFLITE_OP_BYTES",
    "TFLITE_SCALE_BYTES",
    "TFLITE_SPARSE_BYTES",
    "check_decoded_once",
    "pack_tflite",
]

#: Bytes of a tensor, a buffer and an op that decode a weight, and of the dims of a sparse one.
TFLITE_OP_BYTES, TFLITE_SPARSE_BYTES = 220, 120
#: Of a scale and its zero point.
TFLITE_SCALE_BYTES = 12
#: Ops whose weights XNNPACK decodes, through two ops as well. Not their biases: with a decoded one
#: it does not take the op.
_FUSED = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV"})
#: Ops whose weights are decoded once through one op, and at every call through two.
_APART = frozenset({"BATCH_MATMUL", "EMBEDDING_LOOKUP", "GATHER"})
_SUFFIX = b"~"
#: Versions of DEQUANTIZE: of float16, of a scale per tensor, of one per channel.
_OF_HALF, _OF_TENSOR, _OF_CHANNELS = 3, 2, 5
#: Index types, the smallest first: name in the schema, dtype.
_INDICES = (("Uint8Vector", np.uint8), ("Uint16Vector", np.uint16), ("Int32Vector", np.int32))


@dataclass(frozen=True)
class _Stored:
    """A weight as it is stored.

    Args:
        values: float32, float16 or codes, of the weight's shape.
        codes: of codes, their scales.
        sparse: zeros are left out, along the last dim.
    """

    values: NDArray[Any]
    codes: Codes | None = None
    sparse: bool = False

    @property
    def is_plain(self) -> bool:
        return self.values.dtype == np.float32 and not self.sparse

    @property
    def size(self) -> int:
        """Bytes in the file."""
        size = self.values.nbytes
        if self.sparse:
            segments, places = self.places()
            stored = self.values.itemsize * int(np.count_nonzero(self.values))
            size = stored + segments.nbytes + places.nbytes + TFLITE_SPARSE_BYTES
        if self.codes is not None:
            size += TFLITE_SCALE_BYTES * self.codes.scale.size
        return size + TFLITE_OP_BYTES * (self.sparse + (self.values.dtype != np.float32))

    def places(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """Where each row ends among the non-zeros, and the column of each."""
        rows = self.values.reshape(-1, self.values.shape[-1])
        ends = np.concatenate([[0], np.cumsum(np.count_nonzero(rows, axis=1))])
        return _smallest(ends), _smallest(np.nonzero(rows)[1])

    def __str__(self) -> str:
        text = "8-bit codes" if self.codes is not None else self.values.dtype.name
        if self.codes is not None and self.codes.scale.size > 1:
            text += f" with {self.codes.scale.size} scales"
        return f"{text} of the non-zeros" if self.sparse else text


def pack_tflite(path: Path, *, half: bool = False) -> dict[str, str]:
    """Write the file again with each float32 weight in its smallest encoding. {tensor: its
    encoding}, of those that changed.

    Args:
        path: of a .tflite file; it is replaced.
        half: round weights to float16 where that is smaller than what is exact.
    """
    file = TfliteFile(path)
    decoding: list[Any] = []
    encodings = {}
    for number, kinds in file.matrices().items():
        if kinds <= _FUSED | _APART:
            stored = _smallest_of(file.weight(number), half, chains=kinds <= _FUSED)
            if not stored.is_plain:
                encodings[file.name(number)] = str(stored)
                decoding += _write(file, number, stored)
    if encodings:
        file.graph.operators = [*decoding, *file.graph.operators]
        file.save()
    return encodings


def check_decoded_once(path: Path) -> None:
    """Raises ExportError where LiteRT would decode a weight at every call."""
    runtime = require("ai_edge_litert.interpreter", extra="tflite", why="checking a TFLite file")
    net = runtime.Interpreter(model_path=str(path), num_threads=1)
    net.allocate_tensors()
    ops = net._get_ops_details()  # there is no public way to the ops
    taken = {int(i) for op in ops if op["op_name"] == "DELEGATE" for i in op["inputs"]}
    made = {int(op["outputs"][0]): op for op in ops if op["op_name"] == "DENSIFY"}
    for op in ops:
        source = made.get(int(op["inputs"][0])) if op["op_name"] == "DEQUANTIZE" else None
        if source is not None and int(source["inputs"][0]) not in taken:
            raise ExportError(
                f"{path.name}: LiteRT decodes a weight of few bits and zeros at every call; export "
                "without pack"
            )


def _smallest_of(weight: Floats, half: bool, *, chains: bool) -> _Stored:
    """See ``pack_tflite``.

    Args:
        chains: zeros may be left out of what is not float32.
    """
    best = min(_encodings(weight, chains), key=lambda each: each.size)
    if half and best.values.dtype == np.float32:
        most = np.finfo(np.float16).max
        near = weight.clip(-most, most).astype(np.float16)
        rounded = [_Stored(near), *([_Stored(near, sparse=True)] * chains)]
        best = min([best, *rounded], key=lambda each: each.size)
    return best


def _encodings(weight: Floats, chains: bool) -> Iterator[_Stored]:
    """Those that give the weight back."""
    dense = [_Stored(weight)]
    with np.errstate(over="ignore"):  # the comparison finds infinities
        half = weight.astype(np.float16)
    if np.array_equal(half.astype(np.float32), weight):
        dense.append(_Stored(half))
    if (codes := codes_of(weight)) is not None:
        dense.append(_Stored(codes.values, codes))
    yield from dense
    if not weight.all():
        for each in dense if chains else dense[:1]:
            if each.codes is None or not each.codes.zero.any():  # what is left out is the code 0
                yield replace(each, sparse=True)


def _write(file: TfliteFile, number: int, stored: _Stored) -> list[Any]:
    """Store a weight so; the ops that decode it, in their order."""
    decoding = []
    last = number
    if stored.values.dtype != np.float32:
        op, last = _decode(file, "DEQUANTIZE", _version(stored), stored, last)
        decoding.append(op)
    if stored.sparse:
        op, last = _decode(file, "DENSIFY", 1, stored, last)
        decoding.append(op)
        _thin(file, last, stored)
    else:
        file.set_values(last, stored.values)
    file.graph.tensors[number].buffer = 0
    return decoding[::-1]


def _version(stored: _Stored) -> int:
    if stored.codes is None:
        return _OF_HALF
    return _OF_TENSOR if stored.codes.scale.size == 1 else _OF_CHANNELS


def _decode(
    file: TfliteFile, kind: str, version: int, stored: _Stored, made: int
) -> tuple[Any, int]:
    """An op that makes ``made`` of a new tensor, and that tensor."""
    target = file.graph.tensors[made]
    number = file.new_tensor(target.name + _SUFFIX, target.shape, stored.values.dtype.name)
    if stored.codes is not None:
        file.set_grid(number, stored.codes)
    op = file.schema.OperatorT()
    op.inputs, op.outputs = [number], [made]
    op.opcodeIndex = file.op_code(kind, version)
    options = f"{kind.capitalize()}Options"
    op.builtinOptionsType = getattr(file.schema.BuiltinOptions, options)
    op.builtinOptions = getattr(file.schema, f"{options}T")()
    return op, number


def _thin(file: TfliteFile, number: int, stored: _Stored) -> None:
    """Leave out the zeros, along the last dim."""
    schema, values = file.schema, stored.values
    dims = []
    for size in values.shape[:-1]:
        dim = schema.DimensionMetadataT()
        dim.format, dim.denseSize = schema.DimensionType.DENSE, int(size)
        dims.append(dim)
    last = schema.DimensionMetadataT()
    last.format = schema.DimensionType.SPARSE_CSR
    for name, numbers in zip(("Segments", "Indices"), stored.places(), strict=True):
        kind = next(k for k, dtype in _INDICES if dtype == numbers.dtype)
        vector = getattr(schema, f"{kind}T")()
        vector.values = numbers
        setattr(last, f"array{name}Type", getattr(schema.SparseIndexVector, kind))
        setattr(last, f"array{name}", vector)
    sparsity = schema.SparsityParametersT()
    sparsity.traversalOrder = list(range(values.ndim))
    sparsity.dimMetadata = [*dims, last]
    file.graph.tensors[number].sparsity = sparsity
    file.set_values(number, values[values != 0])


def _smallest(numbers: NDArray[Any]) -> NDArray[Any]:
    """In the first type of ``_INDICES`` that holds them."""
    most = int(numbers.max(initial=0))
    return numbers.astype(next(t for _, t in _INDICES if most <= np.iinfo(t).max))
