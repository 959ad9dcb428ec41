"""A .tflite file in memory, by the object interface of LiteRT's schema."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latprof.compress.export import save_tflite
from latprof.errors import ModelLoadError
from latprof.vocabulary import require

__all__ = ["TfliteEdit", "TfliteFile", "load_tflite_file"]

_IDENTIFIER = b"TFL3"
_FLOAT32, _INT32, _INT8 = 0, 2, 9
_DTYPES = {_FLOAT32: np.float32, _INT32: np.int32, 4: np.int64, _INT8: np.int8, 3: np.uint8}


class _Graph:
    """The first subgraph. An op is its number in the file, a tensor its number in the subgraph."""

    def __init__(self, schema: Any, data: bytes) -> None:
        self.schema = schema
        self.model = schema.ModelT.InitFromPackedBuf(data, 0)
        self.graph = self.model.subgraphs[0]
        self.ops: list[Any] = list(self.graph.operators)

    def inputs(self, op: int) -> list[int]:
        given = self.ops[op].inputs
        return [] if given is None else [int(i) for i in given if i >= 0]

    def outputs(self, op: int) -> list[int]:
        made = self.ops[op].outputs
        return [] if made is None else [int(i) for i in made]

    def tensor(self, number: int) -> Any:
        return self.graph.tensors[number]

    def shape(self, number: int) -> tuple[int, ...]:
        shape = self.tensor(number).shape
        return () if shape is None else tuple(int(n) for n in shape)

    def value(self, number: int) -> NDArray[Any] | None:
        """Of a constant; None where it is none, or of a type that is not read here."""
        tensor = self.tensor(number)
        data = self.model.buffers[tensor.buffer].data
        if data is None or len(data) == 0 or tensor.type not in _DTYPES:
            return None
        raw = np.asarray(data, np.uint8).tobytes()
        return np.frombuffer(raw, _DTYPES[tensor.type]).reshape(self.shape(number))


class TfliteFile(_Graph):
    """A file as it is explained.

    Args:
        schema: LiteRT's.
        data: the file.
    """

    def __init__(self, schema: Any, data: bytes) -> None:
        super().__init__(schema, data)
        self.data = data
        names = {v: k for k, v in vars(schema.BuiltinOperator).items() if isinstance(v, int)}
        codes = self.model.operatorCodes
        self.kinds = [
            names[
                max(codes[op.opcodeIndex].builtinCode, codes[op.opcodeIndex].deprecatedBuiltinCode)
            ]
            for op in self.ops
        ]
        self.maker = {t: number for number in range(len(self.ops)) for t in self.outputs(number)}
        self._readers: dict[int, list[int]] = defaultdict(list)
        for number in range(len(self.ops)):
            for tensor in self.inputs(number):
                self._readers[tensor].append(number)
        self.results = {int(t) for t in self.graph.outputs}

    def readers(self, tensor: int) -> list[int]:
        return self._readers.get(tensor, [])

    def only_reader(self, op: int) -> int | None:
        """The op that alone reads what ``op`` makes; None where there are several or none."""
        made = self.outputs(op)
        readers = self.readers(made[0]) if len(made) == 1 else []
        return readers[0] if len(readers) == 1 and made[0] not in self.results else None

    def source(self, op: int) -> int | None:
        """The op that makes the first input of ``op``."""
        given = self.inputs(op)
        return self.maker.get(given[0]) if given else None

    def is_float(self, tensor: int) -> bool:
        return bool(self.tensor(tensor).type == _FLOAT32)

    def random_inputs(self) -> dict[str, NDArray[Any]]:
        """By the names of the file's signature, where it has one, else of its tensors; {} where
        one of them is of a type that is not known here."""
        signatures = self.model.signatureDefs or []
        named = {}
        if len(signatures) == 1:
            named = {int(t.tensorIndex): t.name for t in signatures[0].inputs or []}
        rng = np.random.default_rng(0)
        made = {}
        for number in map(int, self.graph.inputs):
            dtype = _DTYPES.get(self.tensor(number).type)
            if dtype is None:
                return {}
            name = named.get(number, self.tensor(number).name) or b""
            values = rng.standard_normal(self.shape(number))
            steps = 40 * values if dtype is np.int8 else 0 * values
            made[name.decode()] = np.asarray(
                values if dtype is np.float32 else steps, np.float64
            ).astype(dtype)
        return made

    def name(self, op: int) -> str:
        """Of what it makes first."""
        made = self.outputs(op)
        name = self.tensor(made[0]).name if made else b""
        return (name or b"").decode(errors="replace") or f"op {op}"


class TfliteEdit(_Graph):
    """One copy of a file, while it is changed. Numbers stay those of the file."""

    def __init__(self, file: TfliteFile) -> None:
        super().__init__(file.schema, file.data)

    def remove(self, ops: Collection[int]) -> None:
        gone = {id(self.ops[number]) for number in ops}
        self.graph.operators = [op for op in self.graph.operators if id(op) not in gone]

    def reads_instead(self, old: int, new: int) -> None:
        """Every op that reads ``old`` reads ``new``."""
        for op in self.ops:
            if op.inputs is not None:
                op.inputs = [new if int(i) == old else int(i) for i in op.inputs]

    def set_shape(self, tensor: int, shape: tuple[int, ...]) -> None:
        changed = self.tensor(tensor)
        changed.shape, changed.shapeSignature = list(shape), None

    def set_value(self, tensor: int, value: NDArray[Any]) -> None:
        """Into a buffer of its own: others may share the old one."""
        buffer = self.schema.BufferT()
        buffer.data = np.frombuffer(np.ascontiguousarray(value).tobytes(), np.uint8)
        self.model.buffers.append(buffer)
        self.tensor(tensor).buffer = len(self.model.buffers) - 1
        self.set_shape(tensor, value.shape)

    def save(self, path: Path) -> Path:
        save_tflite(self.model, path)
        return path


def load_tflite_file(path: Path) -> TfliteFile:
    """Raises ModelLoadError where there is no such file, or it is not a TFLite model."""
    schema = require(
        "ai_edge_litert.schema_py_generated", extra="tflite", why="reading a .tflite file"
    )
    if not path.is_file():
        raise ModelLoadError(f"MODEL {path}: no such file")
    data = path.read_bytes()
    if data[4:8] != _IDENTIFIER:
        raise ModelLoadError(f"MODEL {path}: not a TFLite model")
    try:
        return TfliteFile(schema, data)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as exc:
        raise ModelLoadError(f"MODEL {path}: not a TFLite model that runs: {exc}") from exc
