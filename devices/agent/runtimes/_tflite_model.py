"""Writes TFLite models of one workload, or of a chain of them, with flatbuffers alone.

No TensorFlow. Numbers are the field slots and enum values of the TFLite schema, version 3. Maps are
(batch, h, w, c), as TFLite has them; padding is SAME, which gives the workload's output size for
odd kernels and for patches (kernel == stride).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import flatbuffers
import numpy as np

from latprof.devices.agent.runtimes._base import Array, Refused, fill
from latprof.workloads import Conv2d, Elementwise, MatMul, Pool, Workload

__all__ = ["TfliteGraph", "append_workload", "graph_class", "input_shape", "write_tflite"]

_SCHEMA_VERSION = 3
_TYPES = {"float32": 0, "int32": 2, "int8": 9}
# BuiltinOperator: name -> (code, version that takes what is written here).
_OPS = {
    "ADD": (0, 1), "AVERAGE_POOL_2D": (1, 1), "CONV_2D": (3, 1), "DEPTHWISE_CONV_2D": (4, 1),
    "FULLY_CONNECTED": (9, 1), "LOGISTIC": (14, 1), "MAX_POOL_2D": (17, 1), "MUL": (18, 1),
    "RELU": (19, 1), "RELU6": (21, 1), "SOFTMAX": (25, 1), "TANH": (28, 1), "MEAN": (40, 1),
    "SUB": (41, 1), "RSQRT": (76, 1), "SQUARED_DIFFERENCE": (99, 1), "HARD_SWISH": (117, 1),
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
    "FullyConnected": (8, (("fused", "Int8"), ("format", "Int8"), ("keep_dims", "Bool"))),
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
_SAME, _RELU6 = 0, 3

_UNARY = {
    "gelu": ("GELU", "Gelu"),
    "hard_swish": ("HARD_SWISH", "HardSwish"),
    "relu": ("RELU", ""),
    "relu6": ("RELU6", ""),
    "sigmoid": ("LOGISTIC", ""),
    "tanh": ("TANH", ""),
}


def write_tflite(workloads: Workload | Sequence[Workload]) -> bytes:
    """A TFLite model of one workload, or of several in a chain, each reading the one before.

    Inputs and outputs are (batch, h, w, c) maps, (batch * m, k) matrices, or
    (batch, tokens, c) for layer_norm; second operands of add, mul, scale and attention products
    are inputs too. Weights are random constants.

    Raises:
        Refused: no such op in TFLite, or two neighbours whose shapes do not fit.
    """
    chain = [workloads] if isinstance(workloads, Workload) else list(workloads)
    dtypes = {workload.dtype for workload in chain}
    if len(dtypes) > 1:
        raise Refused(f"chain: dtypes are {', '.join(sorted(dtypes))}; expected one")
    graph = graph_class(dtypes.pop() if dtypes else "float32")()
    out: int | None = None
    for workload in chain:
        shape = input_shape(workload)
        if out is None:
            out = graph.input(shape)
        elif graph.shape(out) != shape:
            raise Refused(f"chain: {workload.label} reads {shape}, after {graph.shape(out)}")
        out = append_workload(graph, workload, out)
    if out is None:
        raise Refused("chain: no workloads; expected at least one")
    graph.output(out)
    return graph.serialize()


def graph_class(dtype: str) -> type[TfliteGraph]:
    """What writes ops in ``dtype``: float32, or int8 with every activation quantised.

    Raises:
        Refused: another dtype. float16 is no format of TFLite graphs but a way to compute them.
    """
    if dtype == "int8":
        from latprof.devices.agent.runtimes._tflite_int8 import Int8Graph

        return Int8Graph
    if dtype != "float32":
        raise Refused(f"TFLite graphs in {dtype}: expected float32 or int8")
    return TfliteGraph


def input_shape(workload: Workload) -> tuple[int, ...]:
    """Shape of the first operand, as TFLite has it."""
    match workload:
        case Conv2d(batch=b, h=h, w=w, c_in=c) | Pool(batch=b, h=h, w=w, c=c):
            return (b, h, w, c)
        case MatMul(batch=b, m=m, k=k, weights=weights):
            return (b * m, k) if weights else (b, m, k)
        case Elementwise(op="softmax", batch=b, h=h, w=w, c=c):
            return (b, c, h, w)
        case Elementwise(op="layer_norm", batch=b, h=h, w=w, c=c):
            return (b, h * w, c)
        case Elementwise(batch=b, h=h, w=w, c=c):
            return (b, h, w, c)
    raise Refused(f"TFLite has no writer for {workload.kind}")


def append_workload(graph: TfliteGraph, workload: Workload, x: int) -> int:
    """Add the workload's ops, reading tensor ``x``; returns its output."""
    writers: dict[type[Workload], Callable[[TfliteGraph, Any, int], int]] = {
        Conv2d: _conv, MatMul: _matmul, Elementwise: _elementwise, Pool: _pool,
    }  # fmt: skip
    return writers[type(workload)](graph, workload, x)


def _conv(graph: TfliteGraph, w: Conv2d, x: int) -> int:
    fan_in = w.c_in // w.groups * w.kernel**2
    bias = graph.constant(fill((w.c_out,)))
    where: dict[str, int] = {"padding": _SAME, "stride_w": w.stride, "stride_h": w.stride}
    dilation = {"dilation_w": w.dilation, "dilation_h": w.dilation}
    shape = (w.batch, w.h_out, w.w_out, w.c_out)
    if w.depthwise:
        weight = graph.constant(fill((1, w.kernel, w.kernel, w.c_out), 1, fan_in**-0.5))
        options = {**where, "multiplier": 1, **dilation}
        return graph.op("DEPTHWISE_CONV_2D", [x, weight, bias], shape, "DepthwiseConv2D", options)
    weights = fill((w.c_out, w.kernel, w.kernel, w.c_in // w.groups), 1, fan_in**-0.5)
    operands = [x, graph.constant(weights), bias]
    return graph.op("CONV_2D", operands, shape, "Conv2D", {**where, **dilation})


def _matmul(graph: TfliteGraph, w: MatMul, x: int) -> int:
    if not w.weights:
        other = graph.input((w.batch, w.k, w.n))
        return graph.op("BATCH_MATMUL", [x, other], (w.batch, w.m, w.n), "BatchMatMul")
    operands = [x, graph.constant(fill((w.n, w.k), 1, w.k**-0.5)), graph.constant(fill((w.n,)))]
    return graph.op("FULLY_CONNECTED", operands, (w.batch * w.m, w.n), "FullyConnected")


def _elementwise(graph: TfliteGraph, w: Elementwise, x: int) -> int:
    shape = graph.shape(x)
    if w.op in _UNARY:
        op, options = _UNARY[w.op]
        return graph.op(op, [x], shape, options)
    if w.op == "softmax":
        return graph.op("SOFTMAX", [x], shape, "Softmax", {"beta": 1.0})
    if w.op == "silu":
        return graph.op("MUL", [x, graph.op("LOGISTIC", [x], shape)], shape, "Mul")
    if w.op == "hard_sigmoid":  # relu6(x + 3) / 6, as converters write it
        three, sixth = graph.scalar(3.0), graph.scalar(1 / 6)
        clipped = graph.op("ADD", [x, three], shape, "Add", {"fused": _RELU6})
        return graph.op("MUL", [clipped, sixth], shape, "Mul")
    if w.op == "layer_norm":
        return _layer_norm(graph, shape, x)
    other = graph.input((w.batch, 1, 1, w.c) if w.op == "scale" else shape)
    op, options = ("ADD", "Add") if w.op == "add" else ("MUL", "Mul")
    return graph.op(op, [x, other], shape, options)


def _layer_norm(graph: TfliteGraph, shape: tuple[int, ...], x: int) -> int:
    """TFLite has no layer norm; this is what converters write."""
    last = graph.constant(np.array([len(shape) - 1], np.int32))
    thin, c = (*shape[:-1], 1), shape[-1]
    mean = graph.op("MEAN", [x, last], thin, "Reducer", {"keep_dims": True})
    squares = graph.op("SQUARED_DIFFERENCE", [x, mean], shape, "SquaredDifference")
    variance = graph.op("MEAN", [squares, last], thin, "Reducer", {"keep_dims": True})
    safe = graph.op("ADD", [variance, graph.scalar(1e-5)], thin, "Add")
    centred = graph.op("SUB", [x, mean], shape, "Sub")
    unit = graph.op("MUL", [centred, graph.op("RSQRT", [safe], thin)], shape, "Mul")
    scaled = graph.op("MUL", [unit, graph.constant(fill((c,), 1))], shape, "Mul")
    return graph.op("ADD", [scaled, graph.constant(fill((c,), 2))], shape, "Add")


def _pool(graph: TfliteGraph, w: Pool, x: int) -> int:
    shape = (w.batch, w.h_out, w.w_out, w.c)
    if w.op == "global_avg":
        axes = graph.constant(np.array([1, 2], np.int32))
        return graph.op("MEAN", [x, axes], shape, "Reducer", {"keep_dims": True})
    options = {
        "padding": _SAME, "stride_w": w.stride, "stride_h": w.stride,
        "filter_w": w.kernel, "filter_h": w.kernel,
    }  # fmt: skip
    op = "AVERAGE_POOL_2D" if w.op == "avg" else "MAX_POOL_2D"
    return graph.op(op, [x], shape, "Pool2D", options)


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
        # tensor -> (scales, zero points, the dimension that they run along)
        self._quantization: dict[int, tuple[Array, Array, int]] = {}

    def shape(self, tensor: int) -> tuple[int, ...]:
        return self._tensors[tensor][1]

    def input(self, shape: tuple[int, ...]) -> int:
        self._inputs.append(self._tensor(f"input_{len(self._inputs)}", shape, "float32"))
        return self._inputs[-1]

    def output(self, tensor: int) -> None:
        self._outputs.append(tensor)

    def constant(self, values: Array) -> int:
        self._buffers.append(values.tobytes())
        name = f"constant_{len(self._buffers) - 1}"
        return self._tensor(name, values.shape, values.dtype.name, len(self._buffers) - 1)

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
                   version=("Int32", self.versions.get(op, _OPS[op][1])),
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
