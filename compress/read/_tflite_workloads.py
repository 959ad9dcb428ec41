"""Workloads of a TFLite file: channels come last, activations are fused into what they follow.

An op from integer activations to integer ones is an integer workload; what is fused into it is
where its rounding clips, and no op. A linear layer of floats with integer weights is one of few
bits.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from latprof.compress.read._tflite_model import Operator, Shape, TfliteModel, load_tflite, reading
from latprof.workloads import (
    Elementwise,
    MatMul,
    ModelWorkloads,
    Pool,
    Workload,
    conv_transpose_workload,
    conv_workload,
    softmax_workload,
)

__all__ = ["tflite_op_workloads", "tflite_workloads", "transposes"]

_UNARY = {
    "ELU": "relu", "GELU": "gelu", "HARD_SWISH": "hard_swish", "LEAKY_RELU": "relu",
    "LOGISTIC": "sigmoid", "PRELU": "relu", "RELU": "relu",
    "RELU6": "relu6", "RELU_0_TO_1": "relu6", "RELU_N1_TO_1": "relu6", "TANH": "tanh",
    "NEG": "neg", "RSQRT": "rsqrt", "SQUARE": "square",
}  # fmt: skip
_BINARY = {"ADD": "add", "SUB": "add", "MUL": "mul", "DIV": "mul"}
_FUSED = {1: "relu", 2: "relu6", 3: "relu6", 4: "tanh"}  # by ActivationFunctionType
#: Bits of weights that floats are multiplied by, by TensorType.
_CODES = {9: 8, 17: 4}
#: Ops that move values, ask about shapes or change types, and compute nothing.
_FREE = {
    "ASSIGN_VARIABLE", "BATCH_TO_SPACE_ND", "BROADCAST_ARGS", "BROADCAST_TO", "CALL_ONCE", "CAST",
    "CONCATENATION", "DENSIFY", "DEPTH_TO_SPACE", "DEQUANTIZE", "DYNAMIC_UPDATE_SLICE",
    "EMBEDDING_LOOKUP", "EQUAL", "EXPAND_DIMS", "FILL", "GATHER_ND", "GREATER",
    "GREATER_EQUAL", "LESS", "LESS_EQUAL", "LOGICAL_AND", "LOGICAL_NOT", "LOGICAL_OR",
    "MIRROR_PAD", "NOT_EQUAL", "ONE_HOT", "PACK", "PAD", "PADV2", "QUANTIZE", "RANGE", "RANK",
    "READ_VARIABLE", "RESHAPE", "RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR", "REVERSE_V2",
    "SCATTER_ND", "SELECT", "SELECT_V2", "SHAPE", "SLICE", "SPACE_TO_BATCH_ND", "SPACE_TO_DEPTH",
    "SPLIT", "SPLIT_V", "SQUEEZE", "STRIDED_SLICE", "TILE", "TRANSPOSE", "UNPACK", "VAR_HANDLE",
    "WHERE", "ZEROS_LIKE",
}  # fmt: skip


def tflite_workloads(path: Path, inputs: Mapping[str, Sequence[int]]) -> ModelWorkloads:
    model = load_tflite(path, inputs)
    with reading(path):
        workloads, unread, used = _read(model, 0, ())
    if left := model.graph_count - len(used):
        model.assumed.append(
            f"{left} of {model.graph_count} subgraphs, which the first does not call, are not read"
        )
    return ModelWorkloads(tuple(workloads), unread, tuple(model.assumed))


def transposes(path: Path) -> int:
    """How often the file turns a map of more than one pixel and channel between layouts."""
    model = load_tflite(path, {})
    with reading(path):
        return sum(
            op.name == "TRANSPOSE" and sum(n > 1 for n in op.made) > 1 for op in model.operators(0)
        )


def tflite_op_workloads(path: Path) -> list[Workload | None]:
    """Of each op of the first subgraph, in its order, the largest workload; None where it has
    none.

    Raises:
        ModelLoadError: not a TFLite model that runs.
    """
    model = load_tflite(path, {})
    with reading(path):
        found = [_workloads(op) or () for op in model.operators(0)]
        return [max(some, key=lambda w: w.macs) if some else None for some in found]


def _read(
    model: TfliteModel, number: int, callers: tuple[int, ...]
) -> tuple[list[Workload], Counter[str], set[int]]:
    """Workloads of a subgraph and of what it calls, ops in none of them, and subgraphs met."""
    if number in callers:
        raise ValueError(f"subgraph {number} calls itself")
    workloads: list[Workload] = []
    unread: Counter[str] = Counter()
    used = {number}
    for op in model.operators(number):
        bodies = [_read(model, n, (*callers, number)) for n in op.subgraphs]
        used.update(*(met for *_, met in bodies))
        if op.name == "WHILE":  # data decide how often
            unread["WHILE"] += 1
        elif bodies and op.name != "CALL_ONCE":
            ops, missed, _ = max(bodies, key=lambda body: sum(w.macs for w in body[0]))
            workloads += ops
            unread.update(missed)
        elif (made := _workloads(op)) is None:
            unread[op.name] += 1
        else:
            workloads += made
    return workloads, unread, used


def _workloads(op: Operator) -> list[Workload] | None:
    """None for an op that takes time and is in none."""
    if op.name in _FREE or op.dtype is None:
        return []
    made = _OPS.get(op.name, _elementwise)(op)
    if made is None:
        return None
    fused = None if op.is_integer else _FUSED.get(op.activation)
    extra = [] if fused is None else [_map(fused, op.made)]
    found = made if isinstance(made, list) else [made]
    return [w.with_dtype(op.dtype) for w in (*found, *extra)]


def _first(shape: Shape) -> Shape:
    """(batch, h, w, c) as (batch, c, h, w)."""
    return (shape[0], shape[-1], *shape[1:-1])


def _conv(op: Operator) -> Workload | None:
    shape, weight, made = _first(op.shapes[0]), op.shapes[1], _first(op.made)
    stride = [op.options.StrideH(), op.options.StrideW()]
    dilation = [op.options.DilationHFactor(), op.options.DilationWFactor()]
    groups, kernel = shape[1] // weight[-1], weight[1:3]
    return conv_workload(shape, made, (weight[0], weight[-1], *kernel), groups, stride, dilation)


def _conv_3d(op: Operator) -> Workload | None:
    shape, weight, made = _first(op.shapes[0]), op.shapes[1], _first(op.made)
    stride = [op.options.StrideD(), op.options.StrideH(), op.options.StrideW()]
    *kernel, c_in, c_out = weight
    return conv_workload(shape, made, (c_out, c_in, *kernel), shape[1] // c_in, stride, [1, 1, 1])


def _depthwise(op: Operator) -> Workload | None:
    shape, weight, made = _first(op.shapes[0]), op.shapes[1], _first(op.made)
    stride = [op.options.StrideH(), op.options.StrideW()]
    dilation = [op.options.DilationHFactor(), op.options.DilationWFactor()]
    return conv_workload(shape, made, (weight[-1], 1, *weight[1:3]), shape[1], stride, dilation)


def _conv_transpose(op: Operator) -> Workload | None:
    weight = op.shapes[1]  # (c_out, h, w, c_in); the input is the third operand
    return conv_transpose_workload(_first(op.shapes[2]), (weight[-1], weight[0], *weight[1:3]))


def _fully_connected(op: Operator) -> Workload | None:
    n, k = op.shapes[1]
    bits = 0 if op.is_integer else _CODES.get(op.types[1], 0)
    return MatMul(m=math.prod(op.shapes[0]) // k, k=k, n=n, weight_bits=bits)


def _batch_matmul(op: Operator) -> Workload | None:
    a = op.shapes[0]
    k = a[-2] if op.options.AdjX() else a[-1]
    m, n = op.made[-2:]
    if op.constant[1] and len(op.shapes[1]) == 2:
        return MatMul(m=math.prod(op.made[:-1]), k=k, n=n)
    return MatMul(m=m, k=k, n=n, batch=math.prod(op.made[:-2]), weights=False)


def _pool(op: Operator) -> Workload | None:
    batch, c, h, w = _first(op.shapes[0])
    kernel = {op.options.FilterHeight(), op.options.FilterWidth()}
    if op.name == "AVERAGE_POOL_2D" and op.made[1:3] == (1, 1):
        return Pool("global_avg", h=h, w=w, c=c, batch=batch)
    stride = {op.options.StrideH(), op.options.StrideW()}
    if len(kernel) != 1 or len(stride) != 1:
        return None
    name = "avg" if op.name == "AVERAGE_POOL_2D" else "max"
    return Pool(name, h=h, w=w, c=c, kernel=kernel.pop(), stride=stride.pop(), batch=batch)


def _gather(op: Operator) -> Workload | list[Workload]:
    """An embedding, where rows of a constant table are looked up; others move values."""
    table, ids = len(op.shapes[0]) == 2 and op.constant[0], op.constant[1]
    if not table or ids or len(op.made) < 2 or 0 in op.made or op.dtype is None:
        return []
    return Elementwise(
        "embedding", h=math.prod(op.made[1:-1]), w=1, c=op.made[-1], batch=op.made[0]
    )


def _mean(op: Operator) -> Workload | None:
    """A mean that leaves one figure per channel, or per token."""
    shape = op.shapes[0]
    if len(shape) > 1 and 0 not in shape and math.prod(op.made) == math.prod(shape[:-1]):
        tokens = math.prod(shape[1:-1])
        return Elementwise("mean", h=tokens, w=1, c=shape[-1], batch=shape[0])
    if len(shape) != 4 or math.prod(op.made) != shape[0] * shape[-1]:
        return None
    batch, c, h, w = _first(shape)
    return Pool("global_avg", h=h, w=w, c=c, batch=batch)


def _softmax(op: Operator) -> Workload | None:
    """Over the last axis, the only one that TFLite has."""
    return None if not op.made or 0 in op.made else softmax_workload(op.made, -1)


def _elementwise(op: Operator) -> Workload | None:
    name = _UNARY.get(op.name)
    if op.name in _BINARY:
        full = math.prod(op.made)
        same = sum(math.prod(s) == full for s in op.shapes)
        name = _BINARY[op.name] if same > 1 or full == 1 else "scale"
    if name is None or not op.made or 0 in op.made:
        return None
    return _map(name, op.made)


def _map(name: str, shape: Shape) -> Elementwise:
    batch, rest = (shape[0], shape[1:-1]) if len(shape) > 1 else (1, ())
    w = rest[-1] if len(rest) > 1 else 1
    h = math.prod(rest[:-1]) if len(rest) > 1 else math.prod(rest)
    return Elementwise(name, h=h, w=w, c=shape[-1], batch=batch)


_OPS: dict[str, Callable[[Operator], Workload | list[Workload] | None]] = {
    "AVERAGE_POOL_2D": _pool,
    "BATCH_MATMUL": _batch_matmul,
    "CONV_2D": _conv,
    "CONV_3D": _conv_3d,
    "DEPTHWISE_CONV_2D": _depthwise,
    "FULLY_CONNECTED": _fully_connected,
    "GATHER": _gather,
    "LOG_SOFTMAX": _softmax,
    "MAX_POOL_2D": _pool,
    "MEAN": _mean,
    "SOFTMAX": _softmax,
    "TRANSPOSE_CONV": _conv_transpose,
}
