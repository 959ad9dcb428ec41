"""Builds a TFLite flatbuffer op by op, with flatbuffers alone.

No TensorFlow. Numbers are the field slots and enum values of the TFLite schema, version 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import flatbuffers
import numpy as np

from latprof.devices.agent.runtimes._base import Array, pack_codes

__all__ = ["TfliteGraph"]

_SCHEMA_VERSION = 3
#: Of FULLY_CONNECTED: the first version with a scale per output; older runtimes refuse the file.
_OF_CHANNELS = 12
_TYPES = {"float32": 0, "int32": 2, "int8": 9, "int4": 17}
# BuiltinOperator: name -> (code, version that takes what is written here).
_OPS = {
    "ADD": (0, 1), "AVERAGE_POOL_2D": (1, 1), "CONV_2D": (3, 1), "DEPTHWISE_CONV_2D": (4, 1),
    "FULLY_CONNECTED": (9, 1), "LOGISTIC": (14, 1), "MAX_POOL_2D": (17, 1), "MUL": (18, 1),
    "RELU": (19, 1), "RELU6": (21, 1), "SOFTMAX": (25, 1), "TANH": (28, 1), "MEAN": (40, 1),
    "SUB": (41, 1), "RSQRT": (76, 1), "SQUARED_DIFFERENCE": (99, 1), "HARD_SWISH": (117, 1),
    "NEG": (59, 1), "SQUARE": (92, 1), "GATHER": (36, 1),
    "BATCH_MATMUL": (126, 1), "GELU": (150, 1),
}  # fmt: skip
# BuiltinOptions: name -> (union code, slots as (name, flatbuffers type)).
_OPTIONS: dict[str, tuple[int, tuple[tuple[str, str], ...]]] = {
    "Conv2D": (1, (("padding", "Int8"), ("stride_w", "Int32"), ("stride_h", "Int32"),
                   ("fused", "Int8"), ("dilation_w", "Int32"), ("dilation_h", "Int32"))),
    "DepthwiseConv2D": (2, (("padding", "Int8"), ("stride_w", "Int32"), ("stride_h", "Int32"),
                            ("multiplier", "Int32"), ("fused", "Int8"),
                            ("dilation_w", "Int32"), ("dilation_h", "Int32"))),
    "Pool2D": (5, (("padding", "Int8"), ("stride_w", "Int32"), ("stride_h", "Int32"),
                   ("filter_w", "Int32"), ("filter_h", "Int32"), ("fused", "Int8"))),
    "FullyConnected": (8, (("fused", "Int8"), ("format", "Int8"), ("keep_dims", "Bool"),
                           ("asymmetric_inputs", "Bool"))),
    "Softmax": (9, (("beta", "Float32"),)),
    "Add": (11, (("fused", "Int8"),)),
    "Mul": (21, (("fused", "Int8"),)),
    "Reducer": (27, (("keep_dims", "Bool"),)),
    "Sub": (28, (("fused", "Int8"),)),
    "SquaredDifference": (76, ()),
    "HardSwish": (91, ()),
    "BatchMatMul": (101, (("adjoint_x", "Bool"), ("adjoint_y", "Bool"))),
    "Gelu": (116, (("approximate", "Bool"),)),
}  # fmt: skip


class TfliteGraph:
    """A graph under construction; methods that make a tensor return its index."""

    #: Operator versions that differ from those of the float32 ops.
    versions: ClassVar[dict[str, int]] = {}

    def __init__(self) -> None:
        self._tensors: list[tuple[str, tuple[int, ...], int, int]] = []  # name, shape, type, buffer
        self._buffers: list[bytes] = [b""]  # buffer 0 is the empty one, by convention
        self._ops: list[tuple[str, list[int], int, str, dict[str, Any]]] = []
        self._inputs: list[int] = []
        self._outputs: list[int] = []
        self._versions = dict(self.versions)
        # tensor -> (scales, zero points, the dimension that they run along)
        self._quantization: dict[int, tuple[Array, Array, int]] = {}

    def shape(self, tensor: int) -> tuple[int, ...]:
        return self._tensors[tensor][1]

    def input(self, shape: tuple[int, ...], dtype: str = "float32") -> int:
        self._inputs.append(self._tensor(f"input_{len(self._inputs)}", shape, dtype))
        return self._inputs[-1]

    def output(self, tensor: int) -> None:
        self._outputs.append(tensor)

    def constant(self, values: Array) -> int:
        self._buffers.append(values.tobytes())
        name = f"constant_{len(self._buffers) - 1}"
        return self._tensor(name, values.shape, values.dtype.name, len(self._buffers) - 1)

    def codes(self, steps: Array, scales: Array, bits: int) -> int:
        """The weight (n, k) of a linear layer: steps in 4 or 8 bits, a scale per output (n,)."""
        self._versions["FULLY_CONNECTED"] = _OF_CHANNELS
        codes = steps.ravel().view(np.uint8) & (2**bits - 1)
        self._buffers.append(pack_codes(codes.astype(np.uint8), bits).tobytes())
        number = len(self._buffers) - 1
        tensor = self._tensor(f"constant_{number}", steps.shape, f"int{bits}", number)
        self._quantization[tensor] = (scales, np.zeros(scales.size), 0)
        return tensor

    def scalar(self, value: float) -> int:
        return self.constant(np.asarray(value, np.float32))

    def op(
        self,
        op: str,
        inputs: list[int],
        shape: tuple[int, ...],
        options: str = "",
        values: dict[str, Any] | None = None,
    ) -> int:
        """Add one operator; returns its output, a float32 tensor of ``shape``."""
        out = self._tensor(f"{op.lower()}_{len(self._ops)}", shape, "float32")
        self._ops.append((op, inputs, out, options, values or {}))
        return out

    def _tensor(self, name: str, shape: tuple[int, ...], dtype: str, buffer: int = 0) -> int:
        self._tensors.append((name, shape, _TYPES[dtype], buffer))
        return len(self._tensors) - 1

    def serialize(self) -> bytes:
        b = flatbuffers.Builder(sum(map(len, self._buffers)) + 4096)
        codes = list(dict.fromkeys(op for op, *_ in self._ops))
        buffers = [_table(b, data=_blob(b, data) if data else None) for data in self._buffers]
        tensors = [
            _table(b, shape=_ints(b, shape), type=("Int8", type_), buffer=("Uint32", buffer),
                   name=b.CreateString(name),
                   quantization=_quantization(b, self._quantization.get(index)))
            for index, (name, shape, type_, buffer) in enumerate(self._tensors)
        ]  # fmt: skip
        operators = [
            _table(b, opcode=("Uint32", codes.index(op)), inputs=_ints(b, inputs),
                   outputs=_ints(b, [out]), options_type=("Uint8", _OPTIONS[options][0])
                   if options else None, options=_options(b, options, values))
            for op, inputs, out, options, values in self._ops
        ]  # fmt: skip
        subgraph = _table(
            b, tensors=_offsets(b, tensors), inputs=_ints(b, self._inputs),
            outputs=_ints(b, self._outputs), operators=_offsets(b, operators),
            name=b.CreateString("main"),
        )  # fmt: skip
        operator_codes = [
            # Codes above 127 live in the last field alone; the first is what old readers see.
            _table(b, old_code=("Int8", min(_OPS[op][0], 127)), custom=None,
                   version=("Int32", self._versions.get(op, _OPS[op][1])),
                   code=("Int32", _OPS[op][0]))
            for op in codes
        ]  # fmt: skip
        model = _table(
            b, version=("Uint32", _SCHEMA_VERSION), codes=_offsets(b, operator_codes),
            subgraphs=_offsets(b, [subgraph]), description=b.CreateString("latprof"),
            buffers=_offsets(b, buffers),
        )  # fmt: skip
        b.Finish(model, b"TFL3")
        return bytes(b.Output())


def _table(b: Any, **slots: int | tuple[str, Any] | None) -> int:
    """A table whose slots are given in order: an offset, a (type, value), or None for absent."""
    b.StartObject(len(slots))
    for number, slot in enumerate(slots.values()):
        if isinstance(slot, tuple):
            # Written even where it is the default, so that no default is repeated here.
            kind, value = slot
            getattr(b, f"Prepend{kind}")(value)
            b.Slot(number)
        elif slot is not None:
            b.PrependUOffsetTRelativeSlot(number, slot, 0)
    return int(b.EndObject())


def _options(b: Any, options: str, values: dict[str, Any]) -> int | None:
    if not options:
        return None
    defaults = {"dilation_w": 1, "dilation_h": 1}
    _, slots = _OPTIONS[options]
    return _table(b, **{n: (kind, values.get(n, defaults.get(n, 0))) for n, kind in slots})


def _quantization(b: Any, found: tuple[Array, Array, int] | None) -> int | None:
    if found is None:
        return None
    scales, zeros, dimension = found
    return _table(
        b, min=None, max=None, scale=int(b.CreateNumpyVector(scales.astype(np.float32))),
        zero_point=int(b.CreateNumpyVector(zeros.astype(np.int64))), details_type=None,
        details=None, dimension=("Int32", dimension),
    )  # fmt: skip


def _ints(b: Any, values: Sequence[int]) -> int:
    return int(b.CreateNumpyVector(np.asarray(values, np.int32)))


def _offsets(b: Any, offsets: Sequence[int]) -> int:
    b.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        b.PrependUOffsetTRelative(offset)
    return int(b.EndVector())


def _blob(b: Any, data: bytes) -> int:
    """Bytes at 16-byte alignment, which TFLite wants of constant buffers."""
    b.StartVector(1, len(data), 16)
    b.head -= len(data)
    b.Bytes[b.head : b.head + len(data)] = data
    return int(b.EndVector())
