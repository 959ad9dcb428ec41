"""Workloads of a TFLite file: channels come last, activations are fused into what they follow.

An op from int8 activations to int8 ones is an int8 workload; what is fused into it is where its
rounding clips, and no op.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from latprof.errors import ModelLoadError
from latprof.vocabulary import require
from latprof.workloads import (
    Elementwise,
    MatMul,
    Pool,
    Workload,
    conv_transpose_workload,
    conv_workload,
)

__all__ = ["tflite_workloads", "transposes"]

Shape = tuple[int, ...]

_UNARY = {
    "ELU": "relu", "GELU": "gelu", "HARD_SWISH": "hard_swish", "LEAKY_RELU": "relu",
    "LOGISTIC": "sigmoid", "LOG_SOFTMAX": "softmax", "PRELU": "relu", "RELU": "relu",
    "RELU6": "relu6", "RELU_0_TO_1": "relu6", "RELU_N1_TO_1": "relu6", "SOFTMAX": "softmax",
    "TANH": "tanh",
}  # fmt: skip
_BINARY = {"ADD": "add", "SUB": "add", "MUL": "mul", "DIV": "mul"}
_INT8 = 9  # TensorType
_FUSED = {1: "relu", 2: "relu6", 3: "relu6", 4: "tanh"}  # by ActivationFunctionType


def tflite_workloads(path: Path) -> list[Workload]:
    found: list[Workload] = []
    for op in _operators(path):
        made = _OPS.get(op.name, _elementwise)(op)
        if made is None:
            continue
        found.append(made.with_dtype("int8") if op.int8 else made)
        if not op.int8 and (activation := _FUSED.get(op.activation)) is not None:
            found.append(_map(activation, op.made))
    return found


def transposes(path: Path) -> int:
    """How often the file turns a map of more than one pixel and channel between layouts."""
    return sum(
        op.name == "TRANSPOSE" and sum(n > 1 for n in op.made) > 1 for op in _operators(path)
    )


class _Operator:
    """One operator with its shapes; ``constant`` says which inputs are weights."""

    def __init__(self, name: str, options: Any, inputs: list[Any], outputs: list[Any]) -> None:
        self.name, self.options = name, options
        self.shapes: list[Shape] = [s for s, _, _ in inputs]
        self.constant = [c for _, c, _ in inputs]
        self.made: Shape = outputs[0][0] if outputs else ()
        self.int8 = all(t == _INT8 for _, c, t in (*inputs, *outputs) if not c)

    @property
    def activation(self) -> int:
        function = getattr(self.options, "FusedActivationFunction", None)
        return int(function()) if function is not None else 0


def _operators(path: Path) -> Iterator[_Operator]:
    schema = require(
        "ai_edge_litert.schema_py_generated", extra="tflite", why="reading a .tflite file"
    )
    names = _names(schema.BuiltinOperator)
    data = path.read_bytes()
    if data[4:8] != b"TFL3":
        raise ModelLoadError(f"MODEL {path}: not a TFLite model")
    try:
        model = schema.Model.GetRootAs(data, 0)
        graph = model.Subgraphs(0)
        tensors = [graph.Tensors(i) for i in range(graph.TensorsLength())]
        varying = {int(i) for i in graph.InputsAsNumpy()} | {
            int(t)
            for o in range(graph.OperatorsLength())
            for t in graph.Operators(o).OutputsAsNumpy()
        }
        known = [_tensor(t, i not in varying) for i, t in enumerate(tensors)]
        for number in range(graph.OperatorsLength()):
            operator = graph.Operators(number)
            code = model.OperatorCodes(operator.OpcodeIndex())
            # The larger of two fields, as the runtime takes it: quantizers leave one empty.
            yield _Operator(
                names[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())],
                _options(schema, operator),
                [known[i] for i in operator.InputsAsNumpy() if i >= 0],
                [known[i] for i in operator.OutputsAsNumpy()],
            )
    except (AttributeError, IndexError, KeyError, TypeError, ValueError, struct.error) as exc:
        raise ModelLoadError(f"MODEL {path}: not a TFLite model: {exc}") from exc


def _names(enumeration: Any) -> dict[int, str]:
    """The names of an enumeration of the schema by value."""
    return {v: k for k, v in vars(enumeration).items() if isinstance(v, int)}


def _tensor(tensor: Any, constant: bool) -> tuple[Shape, bool, int]:
    """Its shape, whether it is a constant, and its TensorType."""
    shape = tuple(int(n) for n in tensor.ShapeAsNumpy()) if tensor.ShapeLength() else ()
    return shape, constant, int(tensor.Type())


def _options(schema: Any, operator: Any) -> Any:
    """The operator's own options, as their class; None where it has none."""
    table = operator.BuiltinOptions()
    name = _names(schema.BuiltinOptions).get(operator.BuiltinOptionsType(), "NONE")
    if table is None or name == "NONE":
        return None
    options = getattr(schema, name)()
    options.Init(table.Bytes, table.Pos)
    return options


def _first(shape: Shape) -> Shape:
    """(batch, h, w, c) as (batch, c, h, w)."""
    return (shape[0], shape[-1], *shape[1:-1])


def _conv(op: _Operator) -> Workload | None:
    shape, weight, made = _first(op.shapes[0]), op.shapes[1], _first(op.made)
    stride = [op.options.StrideH(), op.options.StrideW()]
    dilation = [op.options.DilationHFactor(), op.options.DilationWFactor()]
    groups, kernel = shape[1] // weight[-1], weight[1:3]
    return conv_workload(shape, made, (weight[0], weight[-1], *kernel), groups, stride, dilation)


def _depthwise(op: _Operator) -> Workload | None:
    shape, weight, made = _first(op.shapes[0]), op.shapes[1], _first(op.made)
    stride = [op.options.StrideH(), op.options.StrideW()]
    dilation = [op.options.DilationHFactor(), op.options.DilationWFactor()]
    return conv_workload(shape, made, (weight[-1], 1, *weight[1:3]), shape[1], stride, dilation)


def _conv_transpose(op: _Operator) -> Workload | None:
    weight = op.shapes[1]  # (c_out, h, w, c_in); the input is the third operand
    return conv_transpose_workload(_first(op.shapes[2]), (weight[-1], weight[0], *weight[1:3]))


def _fully_connected(op: _Operator) -> Workload | None:
    n, k = op.shapes[1]
    return MatMul(m=math.prod(op.shapes[0]) // k, k=k, n=n)


def _batch_matmul(op: _Operator) -> Workload | None:
    a = op.shapes[0]
    k = a[-2] if op.options.AdjX() else a[-1]
    m, n = op.made[-2:]
    if op.constant[1] and len(op.shapes[1]) == 2:
        return MatMul(m=math.prod(op.made[:-1]), k=k, n=n)
    return MatMul(m=m, k=k, n=n, batch=math.prod(op.made[:-2]), weights=False)


def _pool(op: _Operator) -> Workload | None:
    batch, c, h, w = _first(op.shapes[0])
    kernel = {op.options.FilterHeight(), op.options.FilterWidth()}
    if op.name == "AVERAGE_POOL_2D" and op.made[1:3] == (1, 1):
        return Pool("global_avg", h=h, w=w, c=c, batch=batch)
    stride = {op.options.StrideH(), op.options.StrideW()}
    if len(kernel) != 1 or len(stride) != 1:
        return None
    name = "avg" if op.name == "AVERAGE_POOL_2D" else "max"
    return Pool(name, h=h, w=w, c=c, kernel=kernel.pop(), stride=stride.pop(), batch=batch)


def _mean(op: _Operator) -> Workload | None:
    """A mean that leaves one figure per channel."""
    shape = op.shapes[0]
    if len(shape) != 4 or math.prod(op.made) != shape[0] * shape[-1]:
        return None
    batch, c, h, w = _first(shape)
    return Pool("global_avg", h=h, w=w, c=c, batch=batch)


def _elementwise(op: _Operator) -> Workload | None:
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


_OPS: dict[str, Callable[[_Operator], Workload | None]] = {
    "AVERAGE_POOL_2D": _pool,
    "BATCH_MATMUL": _batch_matmul,
    "CONV_2D": _conv,
    "DEPTHWISE_CONV_2D": _depthwise,
    "FULLY_CONNECTED": _fully_connected,
    "MAX_POOL_2D": _pool,
    "MEAN": _mean,
    "TRANSPOSE_CONV": _conv_transpose,
}
