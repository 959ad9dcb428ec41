"""TFLite files that are slow for one known reason each, on LiteRT with XNNPACK."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np

from latprof.devices.agent.runtimes import write_tflite
from latprof.workloads import Conv2d, Elementwise, Workload

__all__ = ["SLOW_TFLITE"]

_TRANSPOSE = 39
_MOVES = ((0, 3, 1, 2), (0, 2, 3, 1))


def activation(path: Path) -> Path:
    """ReLU6 of int8 by itself, which XNNPACK does not take."""
    ops: list[Workload] = [Conv2d(28, 28, 24, 64), Elementwise("relu6", 28, 28, 64),
                           Conv2d(28, 28, 64, 24)]  # fmt: skip
    path.write_bytes(write_tflite([op.with_dtype("int8") for op in ops]))
    return path


def channels(path: Path) -> Path:
    """Depthwise convolutions of 97 channels, between 1x1 ones."""
    ops: list[Workload] = []
    for _ in range(3):
        ops += [Conv2d(28, 28, 16, 97), Conv2d(28, 28, 97, 97, kernel=3, groups=97)]
        ops += [Conv2d(28, 28, 97, 16)]
    path.write_bytes(write_tflite(ops))
    return path


def round_trip(path: Path) -> Path:
    """GELU between a move to channels first and the move back."""
    ops = [Conv2d(56, 56, 16, 48), Elementwise("gelu", 56, 56, 48), Conv2d(56, 56, 48, 16)]
    schema, model = _model(write_tflite(ops))
    graph = model.subgraphs[0]
    conv, gelu, _ = graph.operators
    made, activated = int(conv.outputs[0]), int(gelu.outputs[0])
    moved, back = (_like(schema, graph, n, name) for n, name in ((made, b"m"), (activated, b"b")))
    for tensor in (moved, activated):
        shape = graph.tensors[tensor].shape
        graph.tensors[tensor].shape = [int(shape[i]) for i in _MOVES[0]]
    gelu.inputs = [moved]
    last = graph.operators[2]
    last.inputs = [back, *map(int, last.inputs[1:])]
    there = _transpose(schema, model, _MOVES[0], made, moved)
    again = _transpose(schema, model, _MOVES[1], activated, back)
    graph.operators = [conv, there, gelu, again, last]
    return _save(model, path)


def dead_branch(path: Path) -> Path:
    """A convolution that no output depends on; XNNPACK leaves it out by itself."""
    schema, model = _model(write_tflite([Conv2d(28, 28, 32, 32, kernel=3)] * 2))
    graph = model.subgraphs[0]
    op = schema.OperatorT()
    vars(op).update(vars(graph.operators[1]))
    op.outputs = [_like(schema, graph, int(op.outputs[0]), b"unused")]
    graph.operators = [graph.operators[0], op, graph.operators[1]]
    return _save(model, path)


def _model(data: bytes) -> tuple[Any, Any]:
    from ai_edge_litert import schema_py_generated as schema

    return schema, schema.ModelT.InitFromPackedBuf(data, 0)


def _like(schema: Any, graph: Any, tensor: int, name: bytes) -> int:
    made = schema.TensorT()
    vars(made).update(vars(graph.tensors[tensor]))
    made.name = name
    graph.tensors.append(made)
    return len(graph.tensors) - 1


def _transpose(schema: Any, model: Any, order: tuple[int, ...], given: int, made: int) -> Any:
    graph = model.subgraphs[0]
    codes = [code.builtinCode for code in model.operatorCodes]
    if _TRANSPOSE not in codes:
        code = schema.OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = _TRANSPOSE
        code.version = 1
        model.operatorCodes.append(code)
        codes.append(_TRANSPOSE)
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(np.asarray(order, np.int32).tobytes(), np.uint8)
    model.buffers.append(buffer)
    tensor = schema.TensorT()
    tensor.shape, tensor.type, tensor.name = [len(order)], 2, b"order"
    tensor.buffer = len(model.buffers) - 1
    graph.tensors.append(tensor)
    op = schema.OperatorT()
    op.opcodeIndex = codes.index(_TRANSPOSE)
    op.inputs, op.outputs = [given, len(graph.tensors) - 1], [made]
    return op


def _save(model: Any, path: Path) -> Path:
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(bytes(builder.Output()))
    return path


#: {name: (how it is written, the cause that is to be named)}.
SLOW_TFLITE: dict[str, tuple[Callable[[Path], Path], str]] = {
    "activation": (activation, "activation"),
    "channels": (channels, "channels"),
    "dead_branch": (dead_branch, "dead-branch"),
    "round_trip": (round_trip, "transposes"),
}
