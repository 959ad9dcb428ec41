"""A TFLite file while its weights are stored in another way, by the schema that LiteRT ships."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latprof.compress.export._encodings import packed_codes
from latprof.compress.export._grids import Floats
from latprof.vocabulary import require

__all__ = ["Codes", "TfliteFile", "save_tflite"]

_IDENTIFIER = b"TFL3"
_FLOAT32, _INT4 = 0, 17
#: Of LiteRT's types of tensors, by dtype.
_TYPES = {"float32": _FLOAT32, "float16": 1, "int8": 9}
_HALF_BYTE = 0xF


@dataclass(frozen=True)
class Codes:
    """A weight as int8 codes.

    Args:
        values: of the weight's shape.
        scale: one, or one per channel, (S,).
        zero: the code of 0 of each scale, (S,).
        dim: of the weight that has the channels.
    """

    values: NDArray[np.int8]
    scale: Floats
    zero: NDArray[np.int64]
    dim: int = 0


class TfliteFile:
    """The first subgraph of a file. A tensor is its number there.

    Args:
        path: of a .tflite file.

    Attributes:
        readers: of each tensor, the kinds of the ops that read it, and these ops.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.schema = require(
            "ai_edge_litert.schema_py_generated", extra="tflite", why="packing a TFLite file"
        )
        self.model = self.schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0)
        self.graph = self.model.subgraphs[0]
        kinds = {v: k for k, v in vars(self.schema.BuiltinOperator).items() if isinstance(v, int)}
        self.readers: dict[int, list[tuple[str, Any]]] = defaultdict(list)
        for op in self.graph.operators:
            code = self.model.operatorCodes[op.opcodeIndex]
            kind = kinds[max(code.builtinCode, code.deprecatedBuiltinCode)]
            for tensor in () if op.inputs is None else op.inputs:
                self.readers[int(tensor)].append((kind, op))

    def matrices(self) -> dict[int, set[str]]:
        """Float32 constants of two dims and more, and the kinds of the ops that read them."""
        outside = {int(t) for t in (*self.graph.inputs, *self.graph.outputs)}
        found = {}
        for number, tensor in enumerate(self.graph.tensors):
            data = self.model.buffers[tensor.buffer].data
            held = data is not None and len(data) > 0 and len(tensor.shape) > 1
            if held and tensor.type == _FLOAT32 and self.readers[number] and number not in outside:
                found[number] = {kind for kind, _ in self.readers[number]}
        return found

    def name(self, tensor: int) -> str:
        return str(self.graph.tensors[tensor].name.decode(errors="replace"))

    def shape(self, tensor: int) -> tuple[int, ...]:
        return tuple(int(n) for n in self.graph.tensors[tensor].shape)

    def weight(self, tensor: int) -> Floats:
        data = self.model.buffers[self.graph.tensors[tensor].buffer].data
        raw = np.asarray(data, np.uint8).tobytes()
        return np.frombuffer(raw, np.float32).reshape(self.shape(tensor))

    def new_tensor(self, name: bytes, shape: Any, dtype: str) -> int:
        """One without values."""
        tensor = self.schema.TensorT()
        tensor.name, tensor.shape, tensor.type = name, shape, _TYPES[dtype]
        tensor.buffer = 0  # the one that is empty in every file
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def set_grid(self, tensor: int, codes: Codes) -> None:
        """Scales and zero points of a tensor; its values stay as they are."""
        grid = self.schema.QuantizationParametersT()
        grid.scale, grid.zeroPoint = codes.scale, codes.zero
        grid.quantizedDimension = codes.dim % codes.values.ndim
        self.graph.tensors[tensor].quantization = grid

    def set_values(self, tensor: int, values: NDArray[Any]) -> None:
        """Into a buffer of its own: others may share the old one."""
        self.graph.tensors[tensor].type = _TYPES[values.dtype.name]
        self._hold(tensor, values)

    def set_halves(self, tensor: int, values: NDArray[np.int8]) -> None:
        """Of int4, two in a byte, the first in the lower half."""
        self.graph.tensors[tensor].type = _INT4
        self._hold(tensor, packed_codes(values.ravel().view(np.uint8) & _HALF_BYTE, 4))

    def _hold(self, tensor: int, values: NDArray[Any]) -> None:
        buffer = self.schema.BufferT()
        buffer.data = np.frombuffer(np.ascontiguousarray(values).tobytes(), np.uint8)
        self.model.buffers.append(buffer)
        self.graph.tensors[tensor].buffer = len(self.model.buffers) - 1

    def op_code(self, kind: str, version: int) -> int:
        """Number of an op's code, of this version at least."""
        code = getattr(self.schema.BuiltinOperator, kind)
        for number, known in enumerate(self.model.operatorCodes):
            if max(known.builtinCode, known.deprecatedBuiltinCode) == code:
                known.version = max(known.version, version)
                return number
        new = self.schema.OperatorCodeT()
        # Codes above 127 live in the last field alone; the first is what old readers see.
        new.builtinCode, new.deprecatedBuiltinCode, new.version = code, min(code, 127), version
        self.model.operatorCodes.append(new)
        return len(self.model.operatorCodes) - 1

    def save(self) -> None:
        """Write it again, without what nothing reads any more."""
        read = {t.buffer for graph in self.model.subgraphs for t in graph.tensors}
        read |= {note.buffer for note in self.model.metadata or []}
        for number, buffer in enumerate(self.model.buffers):
            if number not in read:
                buffer.data = None
        save_tflite(self.model, self.path)


def save_tflite(model: Any, path: Path) -> None:
    """Write a ModelT of LiteRT's schema."""
    flatbuffers = require("flatbuffers", extra="tflite", why="writing a .tflite file")
    builder = flatbuffers.Builder(64 * len(model.buffers) + 4096)
    builder.Finish(model.Pack(builder), _IDENTIFIER)
    part = path.with_suffix(".part")  # an interpreter may have an old file in its memory
    part.write_bytes(bytes(builder.Output()))
    part.replace(path)
