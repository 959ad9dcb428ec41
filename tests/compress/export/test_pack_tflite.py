"""Packed TFLite files: every weight comes back, decoded once, in fewer bytes."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from support.tflite_weights import with_weights

from latprof import Conv2d, MatMul, Workload
from latprof.compress import workloads_of_file
from latprof.compress.export import check_decoded_once, multiply_codes, pack_tflite
from latprof.errors import ExportError

pytest.importorskip("flatbuffers", reason="pip install 'latprof[tflite]'")
interpreter = pytest.importorskip(
    "ai_edge_litert.interpreter", reason="pip install 'latprof[tflite]'"
)
schema = pytest.importorskip("ai_edge_litert.schema_py_generated")

Array = NDArray[np.float32]
WORKLOADS: list[Workload] = [
    Conv2d(6, 6, 8, 24, kernel=3),
    Conv2d(6, 6, 40, 24),
    Conv2d(6, 6, 16, 16, kernel=3, groups=16),
    MatMul(3, 300, 20),
]


def outputs(path: Path) -> Array:
    net = interpreter.Interpreter(model_path=str(path), num_threads=1)
    net.allocate_tensors()
    random = np.random.default_rng(0)
    for each in net.get_input_details():
        net.set_tensor(each["index"], random.standard_normal(each["shape"]).astype(np.float32))
    net.invoke()
    found: Array = net.get_tensor(net.get_output_details()[0]["index"])
    return found


def decoded(path: Path, shape: tuple[int, ...]) -> list[Array]:
    """Tensors of this shape that ops make of constants, as TFLite's own kernels do."""
    plain = interpreter.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    net = interpreter.Interpreter(model_path=str(path), experimental_op_resolver_type=plain)
    net.allocate_tensors()
    net.invoke()
    made = [
        int(op["outputs"][0])
        for op in net._get_ops_details()
        if op["op_name"] in ("DEQUANTIZE", "DENSIFY")
    ]
    found = [net.get_tensor(number) for number in made]
    return [t for t in found if t.dtype == np.float32 and t.shape == shape]


@st.composite
def makers(draw: st.DrawFn) -> Any:
    """Weights of any shape: on a grid, in half precision, with zeros, or none of these."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    kind = draw(st.sampled_from(["normal", "half", "tensor", "channel", "last"]))
    low = draw(st.sampled_from([-128, -7, -255, 0]))
    zeros = draw(st.sampled_from([0.0, 0.5, 0.9, 1.0]))

    def make(shape: tuple[int, ...]) -> Array:
        weight = random.standard_normal(shape)
        if kind == "half":
            weight = weight.astype(np.float16)
        if kind in ("tensor", "channel", "last"):
            codes = random.integers(low, low + 256, shape)
            along = {"tensor": (), "channel": (shape[0], *[1] * (len(shape) - 1))}
            scale = random.uniform(1e-3, 10, along.get(kind, shape[-1:])).astype(np.float32)
            weight = codes.astype(np.float32) * scale
        return np.where(random.random(shape) < zeros, 0, weight).astype(np.float32)

    return make


@settings(max_examples=60, deadline=None)
@given(make=makers(), workload=st.sampled_from(WORKLOADS), half=st.booleans())
def test_every_weight_comes_back(
    make: Any, workload: Workload, half: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("net") / "net.tflite"
    weight = with_weights(path, workload, make)
    plain, expected = path.stat().st_size, outputs(path)
    packed = pack_tflite(path, half=half)
    assert list(workloads_of_file(path)) == [workload]
    check_decoded_once(path)
    assert path.stat().st_size <= plain
    got = outputs(path)
    if not packed:
        np.testing.assert_array_equal(got, expected)
        return
    found = decoded(path, weight.shape)
    rounding = 2.0**-10 if half else 2.0**-20
    # TFLite computes code * scale - zero * scale
    allowed = rounding * np.abs(weight) + 2.0**-22 * np.abs(weight).max()
    assert any((np.abs(t - weight) <= allowed).all() for t in found)
    scale = np.abs(expected).max() + 1e-30
    assert np.abs(got - expected).max() <= 4 * rounding * scale + 1e-5 * scale


@pytest.mark.parametrize(
    ("encoding", "least", "most"),
    [("float16", 0.49, 0.52), ("8-bit codes", 0.24, 0.28), ("float32 of the non-zeros", 0.1, 0.15)],
)
def test_the_file_shrinks_by_as_much(
    encoding: str, least: float, most: float, tmp_path: Path
) -> None:
    path = tmp_path / "net.tflite"
    random = np.random.default_rng(0)

    def make(shape: tuple[int, ...]) -> Array:
        weight = random.standard_normal(shape)
        if encoding == "float16":
            return weight.astype(np.float16).astype(np.float32)
        if encoding == "8-bit codes":
            return random.integers(-127, 128, shape).astype(np.float32) * np.float32(0.013)
        return np.where(random.random(shape) < 0.9, 0, weight).astype(np.float32)

    with_weights(path, Conv2d(4, 4, 200, 300), make)
    plain = path.stat().st_size
    (found,) = pack_tflite(path).values()
    assert found == encoding
    assert least <= path.stat().st_size / plain <= most


def test_a_bias_stays_as_it_is(tmp_path: Path) -> None:
    """With a decoded one XNNPACK would not take the op."""
    path = tmp_path / "net.tflite"
    with_weights(path, Conv2d(4, 4, 8, 400), lambda shape: np.ones(shape))
    before = schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0)
    pack_tflite(path, half=True)
    after = schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0)
    for old, new in zip(before.subgraphs[0].tensors, after.subgraphs[0].tensors, strict=False):
        if len(old.shape) == 1:
            held = [m.buffers[t.buffer].data for m, t in ((before, old), (after, new))]
            assert held[0] is None or bytes(held[0]) == bytes(held[1])


def test_decoding_at_every_call_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the file has of an op that XNNPACK does not take."""
    path = tmp_path / "net.tflite"
    random = np.random.default_rng(0)
    with_weights(path, MatMul(3, 300, 20), lambda shape: random.random(shape) < 0.05)
    pack_tflite(path)
    check_decoded_once(path)
    plain = interpreter.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    without = functools.partial(interpreter.Interpreter, experimental_op_resolver_type=plain)
    monkeypatch.setattr(interpreter, "Interpreter", without)
    with pytest.raises(ExportError, match="at every call"):
        check_decoded_once(path)


@pytest.mark.parametrize("bits", [4, 8])
def test_linear_layers_multiply_by_their_codes(bits: int, tmp_path: Path) -> None:
    path = tmp_path / "net.tflite"
    random, most = np.random.default_rng(0), 2 ** (bits - 1) - 1

    def make(shape: tuple[int, ...]) -> Array:
        scale = random.uniform(0.01, 1, (shape[0], 1)).astype(np.float32)
        return random.integers(-most, most + 1, shape).astype(np.float32) * scale

    with_weights(path, MatMul(3, 301, 21), make)
    expected, asked = outputs(path), []

    def choose(product: MatMul, widths: Sequence[int]) -> int:
        asked.append((product, widths[0]))
        return bits

    assert list(multiply_codes(path, choose).values()) == [bits]
    assert asked == [(MatMul(3, 301, 21), bits)]
    assert list(workloads_of_file(path)) == [MatMul(3, 301, 21, weight_bits=bits)]
    np.testing.assert_allclose(outputs(path), expected, rtol=0, atol=0.02 * np.abs(expected).max())
    assert not pack_tflite(path)  # there are no floats left


@pytest.mark.parametrize("workload", [MatMul(3, 300, 20), Conv2d(6, 6, 40, 24)])
def test_other_layers_multiply_floats(workload: Workload, tmp_path: Path) -> None:
    path = tmp_path / "net.tflite"
    random = np.random.default_rng(0)
    off_zero = random.integers(0, 256, 6000)
    linear = isinstance(workload, MatMul)
    with_weights(path, workload, lambda s: np.resize(off_zero if linear else off_zero % 5, s))
    before = path.read_bytes()
    assert not multiply_codes(path, lambda product, least: 8)
    assert path.read_bytes() == before
