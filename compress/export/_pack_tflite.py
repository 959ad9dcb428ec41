"""Weights of a TFLite file in fewer bytes, decoded once, as LiteRT loads the file.

What DEQUANTIZE and DENSIFY read from constants, XNNPACK decodes when it takes the graph, and runs
the float32 network then; other kernels keep what they once decoded. int4 is none of these: a
convolution of int4 weights through DEQUANTIZE took 4 times as long. docs/guide/file-size.md has
the figures.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latprof.compress.export._grids import steps_of
from latprof.errors import ExportError
from latprof.vocabulary import require

__all__ = [
    "TFLITE_OP_BYTES",
    "TFLITE_SCALE_BYTES",
    "TFLITE_SPARSE_BYTES",
    "check_decoded_once",
    "pack_tflite",
]

Floats = NDArray[np.float32]

_IDENTIFIER = b"TFL3"
#: Of LiteRT's types of tensors.
_FLOAT32 = 0
_TYPES = {"float32": _FLOAT32, "float16": 1, "int8": 9}
#: Dims that scales may lie along: of most weights the first, of depthwise ones the last.
_CHANNEL_DIMS = (0, -1)
#: A weight that batch norm was folded into is its factor times one on a grid, to this share.
_FOLDED = 2.0**-21
#: Bytes of a tensor, a buffer and an op that decode a weight, and of the dims of a sparse one.
TFLITE_OP_BYTES, TFLITE_SPARSE_BYTES = 220, 120
#: Of a scale and its zero point.
TFLITE_SCALE_BYTES = 12
#: Ops whose weights XNNPACK decodes, through two ops as well.
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
        values: float32, float16 or int8 steps, of the weight's shape.
        scale: of int8, one or one per channel, (S,).
        zero: of int8, the code of 0 of each scale, (S,).
        dim: of the weight that has the channels.
        sparse: zeros are left out, along the last dim.
    """

    values: NDArray[Any]
    scale: Floats | None = None
    zero: NDArray[np.int64] | None = None
    dim: int = 0
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
            stored = self.values.itemsize * np.count_nonzero(self.values)
            size = stored + segments.nbytes + places.nbytes + TFLITE_SPARSE_BYTES
        if self.scale is not None:
            size += TFLITE_SCALE_BYTES * self.scale.size
        return size + TFLITE_OP_BYTES * (self.sparse + (self.values.dtype != np.float32))

    def places(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """Where each row ends among the non-zeros, and the column of each."""
        rows = self.values.reshape(-1, self.values.shape[-1])
        ends = np.concatenate([[0], np.cumsum(np.count_nonzero(rows, axis=1))])
        return _smallest(ends), _smallest(np.nonzero(rows)[1])

    def __str__(self) -> str:
        names = {"float32": "float32", "float16": "float16", "int8": "8-bit codes"}
        text = names[self.values.dtype.name]
        if self.scale is not None and self.scale.size > 1:
            text += f" with {self.scale.size} scales"
        return f"{text} of the non-zeros" if self.sparse else text


def pack_tflite(path: Path, *, half: bool = False) -> dict[str, str]:
    """Write the file again with each float32 weight in its smallest encoding. {tensor: its
    encoding}, of those that changed.

    Args:
        path: of a .tflite file; it is replaced.
        half: round weights to float16 where that is smaller than what is exact.
    """
    schema = require(
        "ai_edge_litert.schema_py_generated", extra="tflite", why="packing a TFLite file"
    )
    flatbuffers = require("flatbuffers", extra="tflite", why="packing a TFLite file")
    writer = _Writer(schema, schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0))
    for number in writer.weights():
        writer.write(number, half)
    if writer.encodings:
        builder = flatbuffers.Builder(1024)
        builder.Finish(writer.finished().Pack(builder), _IDENTIFIER)
        path.write_bytes(bytes(builder.Output()))
    return writer.encodings


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


class _Writer:
    """Decoding ops, and the tensors that they read.

    Args:
        schema: LiteRT's.
        model: what is changed.
    """

    def __init__(self, schema: Any, model: Any) -> None:
        self.schema, self.model = schema, model
        self.graph = model.subgraphs[0]
        self.encodings: dict[str, str] = {}
        self._decoding: list[Any] = []
        kinds = {v: k for k, v in vars(schema.BuiltinOperator).items() if isinstance(v, int)}
        self._readers: dict[int, set[str]] = {}
        for op in self.graph.operators:
            code = model.operatorCodes[op.opcodeIndex]
            kind = kinds[max(code.builtinCode, code.deprecatedBuiltinCode)]
            for tensor in () if op.inputs is None else op.inputs:
                self._readers.setdefault(int(tensor), set()).add(kind)

    def weights(self) -> list[int]:
        """Float32 constants that are decoded once. A decoded bias is none: with it, XNNPACK does
        not take the op."""
        outside = {int(t) for t in (*self.graph.inputs, *self.graph.outputs)}
        found = []
        for number, tensor in enumerate(self.graph.tensors):
            data = self.model.buffers[tensor.buffer].data
            held = data is not None and len(data) > 0 and len(tensor.shape) > 1
            readers = self._readers.get(number, set())
            fitting = bool(readers) and readers <= _FUSED | _APART and number not in outside
            if tensor.type == _FLOAT32 and held and fitting:
                found.append(number)
        return found

    def write(self, number: int, half: bool) -> None:
        """Replace a weight by its smallest encoding, if that is not itself."""
        tensor = self.graph.tensors[number]
        raw = np.asarray(self.model.buffers[tensor.buffer].data, np.uint8).tobytes()
        weight = np.frombuffer(raw, np.float32).reshape([int(n) for n in tensor.shape])
        fused = self._readers[number] <= _FUSED
        best = min(_encodings(weight, chains=fused), key=lambda each: each.size)
        if half and best.values.dtype == np.float32:
            near = [_Stored(_rounded(weight)), _Stored(_rounded(weight), sparse=True)]
            best = min([best, *near[: 1 + fused]], key=lambda each: each.size)
        if best.is_plain:
            return
        self.encodings[tensor.name.decode(errors="replace")] = str(best)
        last = number
        if best.values.dtype != np.float32:
            last = self._decoded("DEQUANTIZE", self._version(best), best, last)
        if best.sparse:
            last = self._decoded("DENSIFY", 1, best, last)
            self._thin(self.graph.tensors[last], best)
        else:
            self.graph.tensors[last].buffer = self._hold(best.values)
        tensor.buffer = 0  # the one that is empty in every file

    def finished(self) -> Any:
        """The model, without what nothing reads any more."""
        self.graph.operators = [*self._decoding, *self.graph.operators]
        read = {t.buffer for graph in self.model.subgraphs for t in graph.tensors}
        read |= {note.buffer for note in self.model.metadata or []}
        for number, buffer in enumerate(self.model.buffers):
            if number not in read:
                buffer.data = None
        return self.model

    def _version(self, stored: _Stored) -> int:
        if stored.scale is None:
            return _OF_HALF
        return _OF_TENSOR if stored.scale.size == 1 else _OF_CHANNELS

    def _decoded(self, kind: str, version: int, stored: _Stored, made: int) -> int:
        """A new tensor, of which an op makes ``made``."""
        schema, target = self.schema, self.graph.tensors[made]
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.buffer = target.name + _SUFFIX, target.shape, 0
        tensor.type = _TYPES[stored.values.dtype.name]
        if stored.scale is not None:
            grid = schema.QuantizationParametersT()
            grid.scale = stored.scale
            grid.zeroPoint = stored.zero
            grid.quantizedDimension = stored.dim % stored.values.ndim
            tensor.quantization = grid
        self.graph.tensors.append(tensor)
        number = len(self.graph.tensors) - 1
        op = schema.OperatorT()
        op.inputs, op.outputs = [number], [made]
        op.opcodeIndex = self._code(getattr(schema.BuiltinOperator, kind), version)
        options = f"{kind.capitalize()}Options"
        op.builtinOptionsType = getattr(schema.BuiltinOptions, options)
        op.builtinOptions = getattr(schema, f"{options}T")()
        self._decoding.insert(0, op)
        return number

    def _thin(self, tensor: Any, stored: _Stored) -> None:
        """Leave out the zeros, along the last dim."""
        schema, values = self.schema, stored.values
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
        tensor.sparsity = schema.SparsityParametersT()
        tensor.sparsity.traversalOrder = list(range(values.ndim))
        tensor.sparsity.dimMetadata = [*dims, last]
        tensor.buffer = self._hold(values[values != 0])

    def _hold(self, array: NDArray[Any]) -> int:
        """Number of a new buffer."""
        buffer = self.schema.BufferT()
        buffer.data = np.frombuffer(np.ascontiguousarray(array).tobytes(), np.uint8)
        self.model.buffers.append(buffer)
        return len(self.model.buffers) - 1

    def _code(self, kind: int, version: int) -> int:
        """Number of an op's code, of this version at least."""
        for number, code in enumerate(self.model.operatorCodes):
            if max(code.builtinCode, code.deprecatedBuiltinCode) == kind:
                code.version = max(code.version, version)
                return number
        code = self.schema.OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = kind  # both are below 127
        code.version = version
        self.model.operatorCodes.append(code)
        return len(self.model.operatorCodes) - 1


def _encodings(weight: Floats, *, chains: bool) -> Iterator[_Stored]:
    """Those that give the weight back.

    Args:
        chains: zeros may be left out of what is not float32.
    """
    dense = [_Stored(weight)]
    with np.errstate(over="ignore"):  # the comparison finds infinities
        half = weight.astype(np.float16)
    if np.array_equal(half.astype(np.float32), weight):
        dense.append(_Stored(half))
    dense += _grids(weight)
    yield from dense
    if not weight.all():
        for each in dense if chains else dense[:1]:
            if each.zero is None or not each.zero.any():  # what is left out is the code 0
                yield replace(each, sparse=True)


def _grids(weight: Floats) -> Iterator[_Stored]:
    """Codes of 8 bits with one scale, else with one per channel."""
    if not np.isfinite(weight).all():
        return
    whole = _steps(weight.reshape(1, -1))
    if whole is not None:
        yield _codes(whole, weight[None], 0, weight.shape)
        return
    for dim in _CHANNEL_DIMS:
        rows = np.ascontiguousarray(np.moveaxis(weight, dim, 0))
        found = _steps(rows.reshape(len(rows), -1))
        if found is not None:
            yield _codes(found, rows, dim, weight.shape)


def _codes(
    found: tuple[NDArray[np.int64], Floats], rows: Floats, dim: int, shape: tuple[int, ...]
) -> _Stored:
    """Of steps (S, n), about zero where they fit."""
    steps, scale = found
    low, high = steps.min(1), steps.max(1)
    limits = np.iinfo(np.int8)
    outside = bool(low.min() < limits.min or high.max() > limits.max)
    zero = (limits.min - low.clip(max=0)) * outside  # (S,)
    codes = (steps + zero[:, None]).astype(np.int8).reshape(rows.shape)
    return _Stored(np.moveaxis(codes, 0, dim).reshape(shape), scale, zero, dim)


def _steps(rows: Floats) -> tuple[NDArray[np.int64], Floats] | None:
    """As ``steps_of``; exact where that can be."""
    found = steps_of(rows)
    return steps_of(rows, _FOLDED) if found is None else found


def _rounded(weight: Floats) -> NDArray[np.float16]:
    """Within the range of float16."""
    most = np.finfo(np.float16).max
    return weight.clip(-most, most).astype(np.float16)


def _smallest(numbers: NDArray[Any]) -> NDArray[Any]:
    """In the first type of ``_INDICES`` that holds them."""
    most = int(numbers.max(initial=0))
    return numbers.astype(next(t for _, t in _INDICES if most <= np.iinfo(t).max))
