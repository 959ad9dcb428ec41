"""ONNX files: what is counted, what is named, which shapes may stay open, and damaged files."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.damage import damaged, read_or_refused

from latprof.compress import workloads_of_file
from latprof.devices.agent.runtimes import write_onnx_few_bits
from latprof.errors import ModelLoadError, UsageError
from latprof.workloads import Elementwise, MatMul, ModelWorkloads

onnx = pytest.importorskip("onnx", reason="pip install 'latprof[onnx]'")
from onnx import TensorProto as T  # noqa: E402
from onnx import helper as h  # noqa: E402
from onnx import numpy_helper  # noqa: E402

KERNEL = np.zeros((4, 3, 3, 3), np.float32)


def zeros(*shape: int, dtype: Any = np.float32) -> np.ndarray:
    return np.zeros(shape, dtype)


def info(name: str, shape: Sequence[Any] | None, kind: int = T.FLOAT) -> Any:
    return h.make_tensor_value_info(name, kind, shape)


def model(
    nodes: Sequence[Any],
    inputs: Sequence[Any],
    outputs: Sequence[Any],
    constants: Mapping[str, Any],
    *,
    functions: Sequence[Any] = (),
    domains: Sequence[str] = ("com.microsoft",),
    opset: int = 18,
) -> Any:
    weights = [
        v if isinstance(v, onnx.TensorProto) else numpy_helper.from_array(np.asarray(v), k)
        for k, v in constants.items()
    ]
    graph = h.make_graph(nodes, "g", inputs, outputs, weights)
    ids = [h.make_opsetid("", opset), *(h.make_opsetid(d, 1) for d in domains)]
    return h.make_model(graph, opset_imports=ids, functions=list(functions), ir_version=8)


def read(
    made: Any, path: Path, inputs: Mapping[str, Sequence[int]] | None = None
) -> ModelWorkloads:
    onnx.save(made, path / "net.onnx")
    return workloads_of_file(path / "net.onnx", inputs or {})


def macs(found: ModelWorkloads) -> int:
    return sum(w.macs for w in found)


MS = {"domain": "com.microsoft"}
SOFTMAXES: list[tuple[str, list[int], dict[str, Any], int, dict[str, int]]] = [
    ("Softmax", [12, 49, 64], {"axis": -1}, 18, {"h": 49, "w": 64, "c": 12}),
    ("Softmax", [12, 49, 64], {}, 18, {"h": 49, "w": 64, "c": 12}),
    ("LogSoftmax", [12, 49, 64], {"axis": 1}, 18, {"h": 64, "w": 49, "c": 12}),
    ("Softmax", [2, 8, 49, 64], {"axis": 3}, 18, {"h": 49, "w": 64, "c": 8, "batch": 2}),
    ("Softmax", [2, 5, 8, 49, 64], {}, 18, {"h": 8 * 49, "w": 64, "c": 5, "batch": 2}),
    ("Softmax", [5, 10], {"axis": 1}, 18, {"h": 1, "w": 10, "c": 1, "batch": 5}),
    ("LogSoftmax", [10], {}, 18, {"h": 1, "w": 10, "c": 1}),
    ("Softmax", [12, 49, 64], {"axis": 2}, 11, {"h": 49, "w": 64, "c": 12}),
    ("Softmax", [2, 49, 64], {}, 11, {"h": 1, "w": 49 * 64, "c": 1, "batch": 2}),
]


@pytest.mark.parametrize(("op", "shape", "options", "opset", "expected"), SOFTMAXES)
def test_a_softmax_is_read_by_its_axis(
    op: str,
    shape: list[int],
    options: dict[str, Any],
    opset: int,
    expected: dict[str, int],
    tmp_path: Path,
) -> None:
    node = h.make_node(op, ["x"], ["y"], **options)
    made = model([node], [info("x", shape)], [info("y", shape)], {}, opset=opset)
    assert list(read(made, tmp_path)) == [Elementwise("softmax", **expected)]


PRODUCTS: dict[str, tuple[Any, Any, dict[str, Any], int]] = {
    "einsum": (
        h.make_node("Einsum", ["x", "w"], ["y"], equation="bi,io->bo"),
        [5, 32], {"w": zeros(32, 16)}, 5 * 32 * 16,
    ),
    "einsum of two activations": (
        h.make_node("Einsum", ["x", "x"], ["y"], equation="bhqd,bhkd->bhqk"),
        [2, 3, 5, 8], {}, 2 * 3 * 5 * 5 * 8,
    ),
    "a vector": (h.make_node("MatMul", ["x", "w"], ["y"]), [5, 32], {"w": zeros(32)}, 5 * 32),
    "a vector first": (h.make_node("MatMul", ["x", "w"], ["y"]), [32], {"w": zeros(32, 7)}, 32 * 7),
    "a broadcast batch": (
        h.make_node("MatMul", ["x", "w"], ["y"]),
        [6, 1, 5, 8], {"w": zeros(4, 8, 3)}, 6 * 4 * 5 * 8 * 3,
    ),
    "gemm of transposed operands": (
        h.make_node("Gemm", ["x", "w"], ["y"], transA=1, transB=1),
        [32, 5], {"w": zeros(16, 32)}, 5 * 32 * 16,
    ),
    "a grouped transposed convolution": (
        h.make_node("ConvTranspose", ["x", "w"], ["y"], group=4),
        [1, 16, 8, 8], {"w": zeros(16, 4, 2, 2)}, 16 * 8 * 8 * 4 * 2 * 2,
    ),
    "FusedMatMul": (
        h.make_node("FusedMatMul", ["x", "w"], ["y"], transB=1, **MS),
        [5, 32], {"w": zeros(16, 32)}, 5 * 32 * 16,
    ),
    "FusedConv": (
        h.make_node("FusedConv", ["x", "w"], ["y"], activation="Relu", **MS),
        [1, 3, 8, 8], {"w": KERNEL}, 6 * 6 * 4 * 27,
    ),
    "FusedGemm": (
        h.make_node("FusedGemm", ["x", "w"], ["y"], activation="Relu", **MS),
        [5, 32], {"w": zeros(32, 16)}, 5 * 32 * 16,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PRODUCTS)
def test_every_product_is_counted_from_its_shapes(name: str, tmp_path: Path) -> None:
    node, shape, constants, right = PRODUCTS[name]
    after = h.make_node("Relu", ["y"], ["z"])  # its shape follows from the product's
    found = read(model([node, after], [info("x", shape)], [info("z", None)], constants), tmp_path)
    assert macs(found) == right
    assert [w.label for w in found][-1] == "elementwise.relu"
    assert not found.unread


@pytest.mark.parametrize("kind", ["Exp", "SomeOp", "MatMulNBits"])
def test_what_is_in_no_workload_is_named(kind: str, tmp_path: Path) -> None:
    domain = {"domain": "my.domain"} if kind != "Exp" else {}
    nodes = [h.make_node("Relu", ["x"], ["r"]), h.make_node(kind, ["r"], ["y"], **domain)]
    made = model(nodes, [info("x", [5, 8])], [info("y", None)], {}, domains=["my.domain"])
    found = read(made, tmp_path)
    assert found.unread == {kind: 1}
    assert found.note == f"in no figure: 1 {kind}"
    assert [w.label for w in found] == ["elementwise.relu"]


@pytest.mark.parametrize(("kind", "gates"), [("LSTM", 4), ("GRU", 3), ("RNN", 1)])
@pytest.mark.parametrize("directions", [1, 2])
def test_recurrent_layers_are_their_products(
    kind: str, gates: int, directions: int, tmp_path: Path
) -> None:
    steps, batch, width, hidden = 5, 2, 8, 32
    way = "bidirectional" if directions == 2 else "forward"
    node = h.make_node(kind, ["x", "w", "r"], ["y"], hidden_size=hidden, direction=way)
    constants = {
        "w": zeros(directions, gates * hidden, width),
        "r": zeros(directions, gates * hidden, hidden),
    }
    found = read(
        model([node], [info("x", [steps, batch, width])], [info("y", None)], constants), tmp_path
    )
    assert macs(found) == directions * steps * batch * gates * hidden * (width + hidden)


def test_an_op_behind_an_unknown_shape_is_named(tmp_path: Path) -> None:
    nodes = [
        h.make_node("SomeOp", ["x"], ["u"], domain="my.domain"),
        h.make_node("Conv", ["u", "w"], ["y"]),
    ]
    made = model(
        nodes, [info("x", [1, 3, 8, 8])], [info("y", None)], {"w": KERNEL}, domains=["my.domain"]
    )
    assert read(made, tmp_path).unread == {"Conv": 1, "SomeOp": 1}


def branch(name: str, kernel: str) -> Any:
    return h.make_graph(
        [h.make_node("Conv", ["x", kernel], [name])], name, [], [info(name, [1, 4, 6, 6])]
    )


def test_the_costlier_branch_of_an_if_is_counted(tmp_path: Path) -> None:
    node = h.make_node(
        "If", ["k"], ["y"], then_branch=branch("a", "w"), else_branch=branch("b", "twice")
    )
    inputs = [info("x", [1, 6, 8, 8]), info("k", [], T.BOOL)]
    constants = {"w": zeros(4, 6, 3, 3), "twice": zeros(8, 6, 3, 3)}
    found = read(model([node], inputs, [info("y", None)], constants), tmp_path)
    assert macs(found) == 6 * 6 * 8 * 6 * 9


def loop(body_end: Any) -> Any:
    body = h.make_graph(
        [h.make_node("MatMul", ["s", "m"], ["t"]), body_end],
        "body",
        [info("i", [], T.INT64), info("c", [], T.BOOL), info("s", [4, 16])],
        [info("d", [], T.BOOL), info("t", [4, 16])],
    )
    return h.make_node("Loop", ["n", "", "x"], ["y"], body=body)


def test_a_loop_counts_as_often_as_it_runs(tmp_path: Path) -> None:
    constants = {"m": zeros(16, 16), "n": np.int64(10)}
    inputs, outputs = [info("x", [4, 16])], [info("y", [4, 16])]
    node = loop(h.make_node("Identity", ["c"], ["d"]))
    found = read(model([node], inputs, outputs, constants), tmp_path)
    assert macs(found) == 10 * 4 * 16 * 16
    asked = loop(h.make_node("Less", ["i", "n"], ["d"]))  # may end before
    assert read(model([asked], inputs, outputs, constants), tmp_path).unread == {"Loop": 1}
    del constants["n"]
    made = model([node], [*inputs, info("n", [], T.INT64)], outputs, constants)
    assert read(made, tmp_path).unread == {"Loop": 1}
    endless = model([node], inputs, outputs, {**constants, "n": np.int64(2**60)})
    assert read(endless, tmp_path).unread == {"Loop": 1}


def test_a_scan_counts_its_steps(tmp_path: Path) -> None:
    body = h.make_graph(
        [h.make_node("MatMul", ["row", "m"], ["t"])],
        "body",
        [info("row", [4, 16])],
        [info("t", None)],
    )
    node = h.make_node("Scan", ["x"], ["y"], body=body, num_scan_inputs=1)
    made = model([node], [info("x", [7, 4, 16])], [info("y", None)], {"m": zeros(16, 16)})
    assert macs(read(made, tmp_path)) == 7 * 4 * 16 * 16


def test_local_functions_are_read(tmp_path: Path) -> None:
    inner = h.make_node("Conv", ["a", "b"], ["o"])
    block = h.make_function("my", "Block", ["a", "b"], ["o"], [inner], [h.make_opsetid("", 18)])
    node = h.make_node("Block", ["x", "w"], ["y"], domain="my")
    made = model(
        [node], [info("x", [1, 3, 8, 8])], [info("y", None)], {"w": KERNEL},
        functions=[block], domains=["my"],
    )  # fmt: skip
    assert macs(read(made, tmp_path)) == 6 * 6 * 4 * 27


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [(T.FLOAT, "float32"), (T.FLOAT16, "float16"), (T.BFLOAT16, "bfloat16"), (T.DOUBLE, "float64")],
)
def test_types_are_kept(kind: int, dtype: str, tmp_path: Path) -> None:
    weight = h.make_tensor("w", kind, (32, 16), [0.0] * 512)
    node = h.make_node("MatMul", ["x", "w"], ["y"])
    made = model(
        [node, h.make_node("Relu", ["y"], ["z"])],
        [info("x", [5, 32], kind)],
        [info("z", None, kind)],
        {"w": weight},
    )
    found = read(made, tmp_path)
    assert {w.dtype for w in found} == {dtype}
    assert len(found) == 2


@pytest.mark.parametrize(("weight", "dtype"), [(np.int8, "int8"), (np.uint8, "uint8")])
def test_ops_on_integers_are_read(weight: Any, dtype: str, tmp_path: Path) -> None:
    small = {"s": np.float32(0.1), "z": np.uint8(0), "wz": weight(0)}
    conv = ["x", "s", "z", "w", "s", "wz", "s", "z"]
    nodes = [
        h.make_node("QLinearConv", conv, ["a"]),
        h.make_node("QLinearAdd", ["a", "s", "z", "a", "s", "z", "s", "z"], ["b"], **MS),
        h.make_node(
            "QLinearGlobalAveragePool", ["b", "s", "z", "s", "z"], ["c"], channels_last=0, **MS
        ),
        h.make_node("Reshape", ["c", "flat"], ["d"]),
        h.make_node("QLinearMatMul", ["d", "s", "z", "m", "s", "wz", "s", "z"], ["e"]),
        h.make_node("MatMulInteger", ["e", "m2"], ["y"]),
    ]
    constants = {
        **small, "w": zeros(4, 3, 3, 3, dtype=weight), "m": zeros(4, 5, dtype=weight),
        "m2": zeros(5, 2, dtype=weight), "flat": np.array([1, 4]),
    }  # fmt: skip
    found = read(
        model(nodes, [info("x", [1, 3, 8, 8], T.UINT8)], [info("y", None, T.INT32)], constants),
        tmp_path,
    )
    assert macs(found) == 6 * 6 * 4 * 27 + 4 * 6 * 6 * 0 + 4 * 5 + 5 * 2
    assert [w.dtype for w in found if w.macs] == [dtype] * 3
    assert len(found) == 5
    assert not found.unread


def conv_at(shape: Sequence[Any]) -> Any:
    node = h.make_node("Conv", ["x", "w"], ["y"], pads=[1, 1, 1, 1])
    return model(
        [node], [info("x", shape)], [info("y", [*shape[:1], 4, *shape[2:]])], {"w": KERNEL}
    )


def test_open_dims_are_named_and_taken(tmp_path: Path) -> None:
    made = conv_at(["N", 3, "H", "W"])
    with pytest.raises(ModelLoadError, match=r"open dims H, W; .* --input x=1x3x224x224"):
        read(made, tmp_path)
    found = read(made, tmp_path, {"x": (2, 3, 16, 8)})
    assert macs(found) == 2 * 16 * 8 * 4 * 27
    assert not found.assumed
    for shape, says in [
        ((1, 4, 16, 8), "input x is Nx3xHxW; got 1x4x16x8"),
        ((1, 3, 16), "got 1x3x16"),
        ((1, 3, 0, 8), "got 1x3x0x8"),
    ]:
        with pytest.raises(UsageError, match=says):
            read(made, tmp_path, {"x": shape})
    with pytest.raises(UsageError, match="has no input 'z'; it has x"):
        read(made, tmp_path, {"z": (1, 3, 16, 8)})


def test_an_open_batch_is_one_and_said(tmp_path: Path) -> None:
    found = read(conv_at(["N", 3, 16, 8]), tmp_path)
    assert macs(found) == 16 * 8 * 4 * 27
    assert found.note == "open dim N of input x read as 1"


def test_dims_of_one_name_are_one_size(tmp_path: Path) -> None:
    node = h.make_node("MatMul", ["x", "z"], ["y"])
    made = model([node], [info("x", [4, "S"]), info("z", ["S", "K"])], [info("y", [4, "K"])], {})
    assert macs(read(made, tmp_path, {"x": (4, 7), "z": (7, 3)})) == 4 * 7 * 3
    with pytest.raises(UsageError, match="S is 7 in one input and 8 in z"):
        read(made, tmp_path, {"x": (4, 7), "z": (8, 3)})


def test_weights_outside_the_file_are_found_and_not_read(tmp_path: Path) -> None:
    made = conv_at([1, 3, 16, 8])
    path = tmp_path / "net.onnx"
    onnx.save(made, path, save_as_external_data=True, location="net.data", size_threshold=0)
    assert macs(workloads_of_file(path)) == 16 * 8 * 4 * 27
    weights = (tmp_path / "net.data").read_bytes()
    (tmp_path / "net.data").write_bytes(weights[:100])
    with pytest.raises(ModelLoadError, match=r"net\.data, which is cut short at 100 bytes"):
        workloads_of_file(path)
    (tmp_path / "net.data").unlink()
    with pytest.raises(ModelLoadError, match=r"in net\.data, which is missing; put it beside"):
        workloads_of_file(path)


def test_a_file_of_three_gigabytes_is_read_without_its_weights(tmp_path: Path) -> None:
    size = 28_000  # 3.1 GB of float32, a hole in the file
    tensor = onnx.TensorProto(
        name="w", data_type=T.FLOAT, dims=[size, size], data_location=T.EXTERNAL
    )
    length = 4 * size * size
    for key, value in {"location": "net.data", "offset": "0", "length": str(length)}.items():
        tensor.external_data.add(key=key, value=value)
    with (tmp_path / "net.data").open("wb") as file:
        file.truncate(length)
    node = h.make_node("MatMul", ["x", "w"], ["y"])
    found = read(model([node], [info("x", [1, size])], [info("y", None)], {"w": tensor}), tmp_path)
    assert macs(found) == size * size


def test_shapes_outside_the_file_are_read(tmp_path: Path) -> None:
    nodes = [h.make_node("Reshape", ["x", "s"], ["r"]), h.make_node("MatMul", ["r", "w"], ["y"])]
    constants = {"s": np.array([8, 32]), "w": zeros(32, 16)}
    made = model(nodes, [info("x", [2, 4, 32])], [info("y", None)], constants)
    path = tmp_path / "net.onnx"
    onnx.save(made, path, save_as_external_data=True, location="net.data", size_threshold=0)
    assert macs(workloads_of_file(path)) == 8 * 32 * 16


def whole() -> bytes:
    nodes = [
        h.make_node("Conv", ["x", "w"], ["a"], pads=[1, 1, 1, 1], strides=[2, 2]),
        h.make_node("Relu", ["a"], ["b"]),
        h.make_node("GlobalAveragePool", ["b"], ["c"]),
        h.make_node("Flatten", ["c"], ["d"]),
        h.make_node("Gemm", ["d", "m"], ["y"], transB=1),
    ]
    made = model(
        nodes, [info("x", [1, 3, 16, 16])], [info("y", [1, 5])], {"w": KERNEL, "m": zeros(5, 4)}
    )
    return bytes(made.SerializeToString())


@settings(max_examples=300, deadline=5000, suppress_health_check=[HealthCheck.too_slow])
@given(data=damaged(whole()) | st.binary(max_size=64))
def test_damaged_files_are_refused_in_one_line(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "net.onnx")
        path.write_bytes(data)
        read_or_refused(lambda: workloads_of_file(path))


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("batch", [1, 3])
def test_products_of_few_bits_are_read_with_their_bits(
    tmp_path: Path, batch: int, bits: int
) -> None:
    workload = MatMul(5, 40, 12, batch=batch, weight_bits=bits)
    path = tmp_path / "net.onnx"
    path.write_bytes(write_onnx_few_bits(workload))
    assert list(workloads_of_file(path, {})) == [MatMul(5 * batch, 40, 12, weight_bits=bits)]
