"""Packed files: every weight comes back exactly, decoded once, in fewer bytes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn

from latprof import zoo
from latprof.compress import export, load_check, workloads_of_file
from latprof.compress.export import best_encoding, check_folded, onnx_session, pack_onnx
from latprof.errors import ExportError, UsageError

pytest.importorskip("onnxscript", reason="pip install 'latprof[onnx]'")
onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

# the exporter runs code that warns of torch's own plans
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")

Array = NDArray[np.float32]


def _steps(random: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """One for each channel along the first dim, or the second."""
    along = [1] * len(shape)
    dim = int(random.integers(min(2, len(shape))))
    along[dim] = shape[dim]
    return random.uniform(1e-3, 1e3, along).astype(np.float32)


@st.composite
def weights(draw: st.DrawFn) -> Array:
    """Of any shape: on a grid, of few values, of half precision, with zeros, or none of these."""
    shape = tuple(draw(st.lists(st.integers(1, 9), min_size=1, max_size=4)))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    normal = random.standard_normal(shape).astype(np.float32)
    few = random.standard_normal(draw(st.integers(1, 300))).astype(np.float32)
    bits = draw(st.integers(1, 8))
    codes = random.integers(0, 2**bits, shape) - draw(st.integers(0, 2**bits - 1))
    weight = draw(
        st.sampled_from(
            [
                normal,
                normal.astype(np.float16).astype(np.float32),
                random.choice(few, shape),
                codes.astype(np.float32) * np.float32(random.uniform(1e-6, 1e3)),
                codes.astype(np.float32) * _steps(random, shape),
            ]
        )
    )
    weight = np.where(
        random.random(shape) < draw(st.sampled_from([0.0, 0.5, 0.9, 0.98, 1])), 0, weight
    )
    odd = draw(st.sampled_from([None, np.inf, -np.inf, np.nan, -0.0, 1e-42, 7e4]))
    if odd is not None:
        weight.ravel()[random.integers(weight.size)] = odd
    return np.tile(weight, draw(st.sampled_from([1, 1, 40]))).astype(np.float32)


def written(path: Path, weight: Array) -> Path:
    """A file whose output is x + w."""
    helper, tensor = onnx.helper, onnx.TensorProto
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", tensor.FLOAT, [])],
        [helper.make_tensor_value_info("y", tensor.FLOAT, weight.shape)],
        [onnx.numpy_helper.from_array(weight, "w")],
    )
    opset = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=10), str(path))
    return path


@settings(max_examples=150, deadline=None)
@given(weight=weights())
def test_every_weight_comes_back_exactly(tmp_path_factory: Any, weight: Array) -> None:
    path = written(tmp_path_factory.mktemp("pack") / "net.onnx", weight)
    before = path.stat().st_size
    pack_onnx(path)
    assert path.stat().st_size <= before
    check_folded(path)
    (got,) = onnx_session(path).run(None, {"x": np.zeros((), np.float32)})
    np.testing.assert_array_equal(got, weight)


def on_grid(bits: int) -> Callable[[Tensor], Tensor]:
    def change(weight: Tensor) -> Tensor:
        most = max(2 ** (bits - 1) - 1, 1)
        step = weight.abs().max() / most
        return (weight / step).round().clamp(-most, most) * step

    return change


def thinned(weight: Tensor) -> Tensor:
    return weight * (weight.abs() >= weight.abs().quantile(0.9))


@pytest.mark.parametrize("inputs", [31, 32, 33, 64])
def test_a_scale_per_channel_at_any_number_of_inputs(inputs: int) -> None:
    random = np.random.default_rng(0)
    codes = random.integers(-127, 128, (40, inputs))
    weight = codes.astype(np.float32) * random.uniform(1e-3, 1, (40, 1)).astype(np.float32)
    encoding, size = best_encoding(weight)
    assert encoding.rows is not None
    assert size < 40 * inputs + 4 * 40 + 200


@pytest.mark.parametrize("non_zeros", [60, 1_000, 5_000])
@pytest.mark.parametrize("bits", [4, 32])
def test_where_few_are_not_zero_their_places_take_a_byte_each(
    tmp_path: Path, non_zeros: int, bits: int
) -> None:
    random = np.random.default_rng(0)
    values = random.integers(1, 2**bits, non_zeros).astype(np.float32) + random.normal()
    weight = np.zeros((300, 200), np.float32)
    weight.ravel()[random.permutation(weight.size)[:non_zeros]] = values
    weight[:2] = 1.0  # whole blocks without a zero
    path = written(tmp_path / "net.onnx", weight)
    encoding, size = best_encoding(weight)
    pack_onnx(path)
    check_folded(path)
    (got,) = onnx_session(path).run(None, {"x": np.zeros((), np.float32)})
    np.testing.assert_array_equal(got, weight)
    assert encoding.sparse
    assert path.stat().st_size == pytest.approx(size, rel=0.01, abs=300)
    assert size < non_zeros * (1 + bits / 8) + 400 * (1 + bits / 8) + 60_000 / 128 + 800


def test_zeros_take_no_bytes() -> None:
    encoding, size = best_encoding(np.zeros((64, 64, 3, 3), np.float32))
    assert encoding.values == "constant"
    assert size < 100
    signed = np.zeros(1000, np.float32)
    signed[7] = -0.0
    assert best_encoding(signed)[0].values != "constant"  # it comes back bit for bit


@pytest.mark.parametrize(
    ("change", "most"),
    [
        (on_grid(8), 0.32),
        (lambda w: w.half().float(), 0.56),
        (lambda w: on_grid(4)(thinned(w)), 0.14),
    ],
)
def test_a_network_with_batch_norm(
    tmp_path: Path, change: Callable[[Tensor], Tensor], most: float
) -> None:
    """Batch norm, which the exporter folds into the weights, hides no grid."""
    torch.manual_seed(0)
    model, inputs = zoo.mobilenet_v3_small(width=0.5)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                module.weight.copy_(change(module.weight))
            if isinstance(module, nn.BatchNorm2d):
                module.weight.uniform_(-2, 2)
                module.running_var.uniform_(0.5, 2)
    plain = export(model, inputs, tmp_path / "plain.onnx")
    packed = export(model, inputs, tmp_path / "packed.onnx", pack=True)
    assert packed.stat().st_size <= most * plain.stat().st_size
    assert tuple(workloads_of_file(packed)) == tuple(workloads_of_file(plain))
    check = load_check(packed)
    (got,), (wanted,) = onnx_session(packed).run(None, check.inputs), check.outputs
    assert np.abs(got - wanted).max() <= 1e-5 * np.abs(wanted).max()


def test_float16_is_rounded_only_where_asked(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, x = nn.Linear(256, 64), torch.zeros(1, 256)
    plain = export(model, x, tmp_path / "plain.onnx").stat().st_size
    exact = export(model, x, tmp_path / "exact.onnx", pack=True).stat().st_size
    half = export(model, x, tmp_path / "half.onnx", pack=True, float16=True)
    weights = 4 * 256 * 64
    assert weights < exact < plain
    assert half.stat().st_size < 0.52 * weights
    check = load_check(half)
    (got,), (wanted,) = onnx_session(half).run(None, check.inputs), check.outputs
    assert 0 < np.abs(got - wanted).max() <= 2**-10 * np.abs(wanted).max()


def test_nothing_of_the_exporting_machine_is_in_the_file(tmp_path: Path) -> None:
    path = export(nn.Linear(8, 4), torch.zeros(1, 8), tmp_path / "net.onnx", pack=True)
    assert b"stack_trace" not in path.read_bytes()
    assert b"site-packages" not in path.read_bytes()


def test_an_open_batch(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64))
    with torch.no_grad():
        model[0].weight.copy_(on_grid(4)(model[0].weight))
    path = export(model, torch.zeros(1, 64), tmp_path / "net.onnx", dynamic_batch=True, pack=True)
    x = torch.randn(5, 64)
    (got,) = onnx_session(path).run(None, dict.fromkeys(load_check(path).inputs, x.numpy()))
    np.testing.assert_allclose(got, model(x).detach().numpy(), rtol=1e-5, atol=1e-6)


def test_what_cannot_be_packed(tmp_path: Path) -> None:
    model, x = nn.Linear(4, 4), torch.zeros(1, 4)
    with pytest.raises(UsageError, match="opset is 17"):
        export(model, x, tmp_path / "net.onnx", opset=17, pack=True)
    with pytest.raises(UsageError, match="give pack too"):
        export(model, x, tmp_path / "net.onnx", float16=True)
    assert not list(tmp_path.iterdir())


def test_decoding_at_every_call_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "net.onnx", np.ones(4, np.float32))
    model = onnx.load(str(path))
    model.graph.node.insert(0, onnx.helper.make_node("Abs", ["x"], ["~1"]))
    model.graph.node[1].input[0] = "~1"
    onnx.save(model, str(path))
    with pytest.raises(ExportError, match="runs Abs at every call"):
        check_folded(path)
