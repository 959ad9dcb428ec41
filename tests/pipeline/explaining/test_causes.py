"""Each cause finds its nodes in a file that is slow for it, and its advice keeps what it says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper
from support.slow_files import SLOW_FILES

from latprof.pipeline.explaining._findings import _FINDERS
from latprof.pipeline.explaining.causes import Candidate, merge_candidates, pack_4_bits
from latprof.pipeline.explaining.graph import Edit, Model, copied, load_file, slice_model


def candidates(model: Model) -> list[Candidate]:
    return merge_candidates(c for finder in _FINDERS for c in finder(model))


def outputs(proto: Any, inputs: dict[str, Any] | None = None) -> list[Any]:
    onnx.checker.check_model(proto)
    options = ort.SessionOptions()
    options.log_severity_level = 4
    session = ort.InferenceSession(
        proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    rng = np.random.default_rng(1)
    types = {"tensor(float16)": np.float16, "tensor(uint8)": np.uint8}
    given = {
        i.name: np.abs(10 * rng.standard_normal(i.shape)).astype(types.get(i.type, np.float32))
        if i.type == "tensor(uint8)"
        else rng.standard_normal(i.shape).astype(types.get(i.type, np.float32))
        for i in session.get_inputs()
    }
    return list(session.run(None, given))


def difference(a: list[Any], b: list[Any]) -> float:
    return max(
        float(np.abs(x.astype(float) - y.astype(float)).max() / np.abs(x.astype(float)).max())
        for x, y in zip(a, b, strict=True)
    )


@pytest.mark.parametrize("name", SLOW_FILES)
def test_the_cause_is_found_and_its_advice_runs(name: str, tmp_path: Path) -> None:
    write, cause = SLOW_FILES[name]
    model = load_file(write(tmp_path / "slow.onnx"))
    found = [c for c in candidates(model) if c.cause == cause]
    assert len(found) == 1
    before = outputs(model.proto)
    for option in found[0].options:
        proto = copied(model.proto)
        option.apply(Edit(model.onnx, proto))
        after = outputs(proto)
        # What is to be kept is kept, but for the rounding of float16 where that is left.
        limit = 3e-3 if cause in ("casts", "float16") else 1e-5
        if option.keeps:
            assert difference(before, after) < limit
        assert [a.shape for a in before] == [a.shape for a in after]
        assert outputs(model.proto)[0].tobytes() == before[0].tobytes()  # the file is as it was


@pytest.mark.parametrize("name", sorted(set(SLOW_FILES) - {"dead_branch"}))
def test_a_slice_runs_alone_before_and_after(name: str, tmp_path: Path) -> None:
    write, cause = SLOW_FILES[name]
    model = load_file(write(tmp_path / "slow.onnx"))
    (found,) = [c for c in candidates(model) if c.cause == cause]
    before = outputs(slice_model(model, found.nodes))
    for option in found.options:
        proto = slice_model(model, found.nodes)
        option.apply(Edit(model.onnx, proto))
        assert [a.shape for a in outputs(proto)] == [a.shape for a in before]


def test_quantized_weights_are_near() -> None:
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(100, 24)).astype(np.float32)  # the last block is not full
    packed, scales = pack_4_bits(weights)
    steps = np.stack([packed & 15, packed >> 4], -1).reshape(24, -1, 32).astype(np.float32)
    restored = ((steps - 8) * scales.reshape(24, -1, 1)).reshape(24, -1)[:, :100].T
    assert np.abs(restored - weights).max() <= np.abs(scales).max()
    given = rng.normal(size=(1, 100)).astype(np.float32)
    node = helper.make_node("MatMulNBits", ["x", "w", "s"], ["y"], domain="com.microsoft", K=100,
                            N=24, bits=4, block_size=32)  # fmt: skip
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 100])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 24])],
        [numpy_helper.from_array(packed, "w"), numpy_helper.from_array(scales, "s")],
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("com.microsoft", 1)]
    proto = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    session = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    (made,) = session.run(None, {"x": given})
    np.testing.assert_allclose(made, given @ restored, rtol=1e-3, atol=1e-3)


def graph_of(
    nodes: list[Any], weights: dict[str, Any], tmp_path: Path, made: list[int] | None = None
) -> Model:
    shape = [1, 8, 4, 4]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, made)],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in weights.items()],
    )
    opsets = [helper.make_opsetid("", 18)]
    path = tmp_path / "g.onnx"
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), path)
    return load_file(path)


ONE, SIX, THREE = np.float32(1), np.float32(6), np.float32(3)
NODE = helper.make_node
SPELLINGS = {
    "leaky": (
        [NODE("Mul", ["x", "k"], ["a"]), NODE("Max", ["x", "a"], ["y"])],
        {"k": np.float32(0.1)},
        "LeakyRelu",
    ),
    "slopes": ([NODE("PRelu", ["x", "k"], ["y"])], {"k": np.full((8, 1, 1), 0.2, np.float32)},
               "LeakyRelu"),
    "relu6": (
        [NODE("Relu", ["x"], ["a"]), NODE("Min", ["a", "k"], ["y"])],
        {"k": SIX},
        "Clip",
    ),
    "sigmoid": (
        [
            NODE("Neg", ["x"], ["a"]), NODE("Exp", ["a"], ["b"]), NODE("Add", ["b", "k"], ["c"]),
            NODE("Div", ["k", "c"], ["y"]),
        ],
        {"k": ONE},
        "Sigmoid",
    ),
    "hard swish": (
        [
            NODE("Add", ["k", "x"], ["a"]), NODE("Relu", ["a"], ["b"]),
            NODE("Min", ["b", "s"], ["c"]), NODE("Div", ["c", "s"], ["d"]),
            NODE("Mul", ["d", "x"], ["y"]),
        ],
        {"k": THREE, "s": SIX},
        "HardSwish",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SPELLINGS)
def test_activations_are_known_by_what_they_compute(name: str, tmp_path: Path) -> None:
    nodes, weights, op = SPELLINGS[name]
    model = graph_of(nodes, weights, tmp_path, [1, 8, 4, 4])
    found = [c for c in candidates(model) if c.cause == "activation" and f"{op} is" in c.words]
    assert found
    proto = copied(model.proto)
    found[-1].options[0].apply(Edit(model.onnx, proto))
    assert difference(outputs(model.proto), outputs(proto)) < 1e-5


#: What looks like a cause and is none.
INNOCENT = {
    "another bound": (
        [NODE("Add", ["x", "k"], ["a"]), NODE("Clip", ["a", "z", "k"], ["b"]),
         NODE("Mul", ["b", "x"], ["y"])],
        {"k": THREE, "z": np.float32(0)},
    ),
    "a move that stays": (
        [NODE("Transpose", ["x"], ["a"], perm=[0, 2, 3, 1]), NODE("Relu", ["a"], ["b"]),
         NODE("Transpose", ["b"], ["y"], perm=[0, 2, 1, 3])],
        {},
    ),
    "moved for a softmax": (
        [NODE("Transpose", ["x"], ["a"], perm=[0, 2, 3, 1]), NODE("Softmax", ["a"], ["b"], axis=-1),
         NODE("Transpose", ["b"], ["y"], perm=[0, 3, 1, 2])],
        {},
    ),
    "a cast that stays": (
        [NODE("Cast", ["x"], ["a"], to=TensorProto.FLOAT16), NODE("Relu", ["a"], ["y"])], {},
    ),
    "two readers": (
        [NODE("Mul", ["x", "k"], ["a"]), NODE("Add", ["a", "k"], ["b"]),
         NODE("Sub", ["b", "a"], ["y"])],
        {"k": THREE},
    ),
    "a kernel of use": (
        [NODE("Conv", ["x", "w"], ["y"], pads=[1, 1, 1, 1])],
        {"w": np.ones((8, 8, 3, 3), np.float32)},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", INNOCENT)
def test_what_only_looks_like_it_is_no_candidate(name: str, tmp_path: Path) -> None:
    nodes, weights = INNOCENT[name]
    assert candidates(graph_of(nodes, weights, tmp_path)) == []
