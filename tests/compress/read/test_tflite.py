"""TFLite files: every subgraph that runs, types, open dims, what is not read, and damaged files."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.damage import damaged, read_or_refused

from latprof.compress import workloads_of_file
from latprof.errors import ModelLoadError, UsageError
from latprof.workloads import Elementwise

flatbuffers = pytest.importorskip("flatbuffers", reason="pip install 'latprof[tflite]'")
schema = pytest.importorskip(
    "ai_edge_litert.schema_py_generated", reason="pip install 'latprof[tflite]'"
)

GOLDEN = Path(__file__).parents[2] / "golden" / "net.tflite"
FLOAT, FLOAT16, INT32, UINT8, BOOL, INT16, INT8 = 0, 1, 2, 3, 6, 7, 9
CONV_MACS = 64 * 4 * 27  # of (1, 8, 8, 3) by (4, 3, 3, 3)
Graph = tuple[list[Any], list[Any], list[int], list[int]]


def tensor(shape: Sequence[int], kind: int = FLOAT, buffer: int = 0, open_: Any = None) -> Any:
    made = schema.TensorT()
    made.shape, made.type, made.buffer, made.name = list(shape), kind, buffer, "x"
    made.shapeSignature = open_
    return made


def op(code: int, inputs: list[int], outputs: list[int], options: Any = None) -> Any:
    made = schema.OperatorT()
    made.opcodeIndex, made.inputs, made.outputs = code, inputs, outputs
    if options is not None:
        made.builtinOptions = options
        name = type(options).__name__.removesuffix("T")
        made.builtinOptionsType = getattr(schema.BuiltinOptions, name)
    return made


def conv(code: int, inputs: list[int], outputs: list[int]) -> Any:
    options = schema.Conv2DOptionsT()
    options.strideH = options.strideW = 1
    options.dilationHFactor = options.dilationWFactor = 1
    return op(code, inputs, outputs, options)


def conv_graph(code: int = 0, kind: int = FLOAT, open_: Any = None) -> Graph:
    h, w = (1, 1) if open_ else (8, 8)
    weight = {UINT8: UINT8}.get(kind, INT8 if kind in (INT8, INT16) else kind)
    bias = kind if kind in (FLOAT, FLOAT16) else INT32
    tensors = [
        tensor([1, h, w, 3], kind, open_=open_ and [*open_, 3]),
        tensor([4, 3, 3, 3], weight, 1),
        tensor([1, h, w, 4], kind, open_=open_ and [*open_, 4]),
        tensor([4], bias, 2),
    ]
    return tensors, [conv(code, [0, 1, 3], [2])], [0], [2]


def relu_graph(code: int) -> Graph:
    return [tensor([1, 8, 8, 3]), tensor([1, 8, 8, 4])], [op(code, [0], [1])], [0], [1]


def write(path: Path, ops: Sequence[str], graphs: Sequence[Graph]) -> Path:
    model = schema.ModelT()
    model.version, model.operatorCodes, model.subgraphs = 3, [], []
    model.buffers = [schema.BufferT() for _ in range(3)]
    model.buffers[1].data = np.zeros(4 * 4 * 27, np.uint8)
    model.buffers[2].data = np.zeros(4 * 4, np.uint8)
    for name in ops:
        code, number = schema.OperatorCodeT(), getattr(schema.BuiltinOperator, name)
        code.builtinCode, code.deprecatedBuiltinCode, code.version = number, min(number, 127), 1
        model.operatorCodes.append(code)
    for tensors, operators, inputs, outputs in graphs:
        graph = schema.SubGraphT()
        graph.tensors, graph.operators = tensors, operators
        graph.inputs, graph.outputs = inputs, outputs
        model.subgraphs.append(graph)
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(bytes(builder.Output()))
    return path


def macs(path: Path, **inputs: Sequence[int]) -> int:
    return sum(w.macs for w in workloads_of_file(path, inputs))


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [(FLOAT, "float32"), (FLOAT16, "float16"), (UINT8, "uint8"), (INT16, "int16"), (INT8, "int8")],
)
def test_types_are_kept(kind: int, dtype: str, tmp_path: Path) -> None:
    (found,) = workloads_of_file(write(tmp_path / "n.tflite", ["CONV_2D"], [conv_graph(0, kind)]))
    assert (found.dtype, found.macs) == (dtype, CONV_MACS)


@pytest.mark.parametrize("name", ["SOFTMAX", "LOG_SOFTMAX"])
@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ([12, 49, 64], Elementwise("softmax", h=49, w=64, c=12)),
        ([2, 8, 49, 64], Elementwise("softmax", h=49, w=64, c=8, batch=2)),
        ([5, 10], Elementwise("softmax", h=1, w=10, c=1, batch=5)),
    ],
)
def test_a_softmax_is_over_the_last_axis(
    name: str, shape: list[int], expected: Elementwise, tmp_path: Path
) -> None:
    graph: Graph = [tensor(shape), tensor(shape)], [op(0, [0], [1])], [0], [1]
    assert list(workloads_of_file(write(tmp_path / "n.tflite", [name], [graph]))) == [expected]


def calling(options: Any) -> Graph:
    tensors = [tensor([1, 8, 8, 3]), tensor([1, 8, 8, 4]), tensor([], BOOL)]
    return tensors, [op(0, [2, 0], [1], options)], [0, 2], [1]


def test_the_costlier_branch_of_an_if_is_counted(tmp_path: Path) -> None:
    options = schema.IfOptionsT()
    options.thenSubgraphIndex, options.elseSubgraphIndex = 1, 2
    graphs = [calling(options), relu_graph(2), conv_graph(1)]
    path = write(tmp_path / "n.tflite", ["IF", "CONV_2D", "RELU"], graphs)
    assert macs(path) == CONV_MACS
    assert not workloads_of_file(path).note


def test_a_while_is_named(tmp_path: Path) -> None:
    options = schema.WhileOptionsT()
    options.condSubgraphIndex, options.bodySubgraphIndex = 1, 2
    graphs = [calling(options), relu_graph(2), conv_graph(1)]
    found = workloads_of_file(write(tmp_path / "n.tflite", ["WHILE", "CONV_2D", "RELU"], graphs))
    assert found.unread == {"WHILE": 1}


def test_subgraphs_that_nothing_calls_are_told(tmp_path: Path) -> None:
    graphs = [relu_graph(1), conv_graph(0)]
    found = workloads_of_file(write(tmp_path / "n.tflite", ["CONV_2D", "RELU"], graphs))
    assert found.note == "1 of 2 subgraphs, which the first does not call, are not read"


def test_a_subgraph_that_calls_itself_is_refused(tmp_path: Path) -> None:
    options = schema.IfOptionsT()
    options.thenSubgraphIndex = options.elseSubgraphIndex = 0
    path = write(tmp_path / "n.tflite", ["IF"], [calling(options)])
    with pytest.raises(ModelLoadError, match="subgraph 0 calls itself"):
        workloads_of_file(path)


@pytest.mark.parametrize("name", ["UNIDIRECTIONAL_SEQUENCE_LSTM", "EXP", "SVDF"])
def test_what_is_in_no_workload_is_named(name: str, tmp_path: Path) -> None:
    found = workloads_of_file(write(tmp_path / "n.tflite", [name], [relu_graph(0)]))
    assert found.unread == {name: 1}


def test_open_dims_are_named_and_taken(tmp_path: Path) -> None:
    path = write(tmp_path / "n.tflite", ["CONV_2D"], [conv_graph(0, open_=[-1, -1, -1])])
    with pytest.raises(ModelLoadError, match=r"input x is \?x\?x\?x3, .* --input x=1x224x224x3"):
        workloads_of_file(path)
    assert macs(path, x=(1, 8, 8, 3)) == CONV_MACS
    with pytest.raises(UsageError, match=r"input x is \?x\?x\?x3; got 1x8x8x4"):
        workloads_of_file(path, {"x": (1, 8, 8, 4)})
    with pytest.raises(UsageError, match="has no input 'y'; it has x"):
        workloads_of_file(path, {"y": (1, 8, 8, 3)})


def test_an_open_batch_is_one_and_said(tmp_path: Path) -> None:
    graph = conv_graph()
    graph[0][0].shapeSignature = [-1, 8, 8, 3]
    found = workloads_of_file(write(tmp_path / "n.tflite", ["CONV_2D"], [graph]))
    assert found.note == "open dim batch of input x read as 1"


@settings(max_examples=300, deadline=5000, suppress_health_check=[HealthCheck.too_slow])
@given(
    data=damaged(GOLDEN.read_bytes())
    | st.binary(max_size=64).map(lambda b: b"\0" * 4 + b"TFL3" + b)
)
def test_damaged_files_are_refused_in_one_line(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "net.tflite")
        path.write_bytes(data)
        read_or_refused(lambda: workloads_of_file(path))
