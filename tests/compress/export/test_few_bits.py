"""Linear layers of few bits in a file: the network's own weights, computed by MatMulNBits."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from support.few_bits import Tokens, few_bits_surrogate, reloading_surrogate
from torch import Tensor, nn

from latprof.compress import export, load_check, workloads_of_file
from latprof.compress.export import (
    let_inputs_be_rounded,
    onnx_session,
    store_few_bits,
)
from latprof.errors import UsageError
from latprof.workloads import MatMul

pytest.importorskip("onnxscript", reason="pip install 'latprof[onnx]'")
onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

# the exporter runs code that warns of torch's own plans
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")

EXAMPLE = torch.randn(1, 8, 64, generator=torch.Generator().manual_seed(1))


def on_grid(weight: Tensor, bits: int, grid: str, scales: str) -> Tensor:
    """(n, k) rounded to whole steps of a scale."""
    n, k = weight.shape
    blocks = {"tensor": (1, n * k), "channel": (n, k), "block-32": (n * -(-k // 32), 32)}[scales]
    size = blocks[0] * blocks[1]
    padded = nn.functional.pad(weight, (0, size // n - k)) if scales == "block-32" else weight
    rows = padded.reshape(blocks)
    least, most = (0, 2**bits - 1) if grid == "integer" else (1 - 2 ** (bits - 1), 0)
    if grid == "integer":
        low, high = rows.amin(1).clamp(max=0), rows.amax(1).clamp(min=0)
        step = (high - low) / most
        zero = (-low / step).round()
        steps = (rows / step[:, None]).round().clamp(-zero[:, None], most - zero[:, None])
    else:
        step = rows.abs().amax(1) / -least
        steps = (rows / step[:, None]).round()
    return (steps * step[:, None]).reshape(n, -1)[:, :k].contiguous()


def network_on_grid(make: Callable[[], nn.Module], bits: int, grid: str, scales: str) -> nn.Module:
    """With the weights of all its linear layers on a grid, in eval mode."""
    torch.manual_seed(0)
    model = make().eval()
    with torch.no_grad():
        for layer in model.modules():
            if isinstance(layer, nn.Linear):
                layer.weight.copy_(on_grid(layer.weight, bits, grid, scales))
    return model


def error_of(path: Path) -> float:
    """How far a file's output is from the network's, relative."""
    check = load_check(path)
    (found,) = onnx_session(path).run(None, check.inputs)
    return float(np.abs(found - check.outputs[0]).max() / np.abs(check.outputs[0]).max())


def product_file(path: Path, weight: NDArray[np.float32], bias: NDArray[np.float32]) -> Path:
    """x @ weight.T + bias of (k, k) inputs, as exporters write it for more than two dims."""
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    n, k = weight.shape
    nodes = [
        helper.make_node("Transpose", ["w"], ["t"], perm=[1, 0]),
        helper.make_node("MatMul", ["x", "t"], ["p"]),
        helper.make_node("Add", ["p", "b"], ["y"]),
    ]
    x, y = (
        helper.make_tensor_value_info(name, kind, shape)
        for name, shape in (("x", [k, k]), ("y", [k, n]))
    )
    held = [onnx.numpy_helper.from_array(a, name) for a, name in ((weight, "w"), (bias, "b"))]
    opset = [helper.make_opsetid("", 18)]
    graph = helper.make_graph(nodes, "g", [x], [y], held)
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=10), str(path))
    return path


@pytest.mark.parametrize("scales", ["tensor", "channel", "block-32"])
@pytest.mark.parametrize("grid", ["integer", "symmetric"])
@pytest.mark.parametrize(("bits", "k"), [(2, 40), (4, 64), (8, 33)])
def test_the_weights_of_the_file_are_those_of_the_network(
    bits: int, k: int, grid: str, scales: str, tmp_path: Path
) -> None:
    torch.manual_seed(bits)
    weight, bias = on_grid(torch.randn(12, k), bits, grid, scales).numpy(), np.ones(12, np.float32)
    path = product_file(tmp_path / "net.onnx", weight, bias)
    asked: list[tuple[MatMul, Sequence[int]]] = []

    def choose(product: MatMul, widths: Sequence[int]) -> int:
        asked.append((product, widths))
        return bits if bits in widths else 0

    stored = list(store_few_bits(path, choose).values())
    assert asked[0][0] == MatMul(k, k, 12)
    assert [w for w in asked[0][1] if w < 8] == [w for w in (2, 4) if w >= bits]
    if bits == 8 and (grid == "integer" or scales == "block-32"):
        assert not stored  # codes of a byte are about zero, with a scale per output
        return
    assert stored == [bits]
    exact = rows_of(path, k)
    np.testing.assert_allclose(exact, weight.T + bias, rtol=0, atol=1e-6)
    let_inputs_be_rounded(path)
    np.testing.assert_allclose(rows_of(path, k), exact, rtol=0, atol=0.01 * np.abs(exact).max())
    assert list(workloads_of_file(path)) == [MatMul(k, k, 12, weight_bits=bits)]


def rows_of(path: Path, k: int) -> NDArray[np.float32]:
    """What a file makes of the rows of the identity."""
    session = onnx_session(path)
    names = [i.name for i in session.get_inputs()]
    (rows,) = session.run(None, {names[0]: np.eye(k, dtype=np.float32)})
    return np.asarray(rows)


def test_weights_on_no_grid_stay_as_they_are(tmp_path: Path) -> None:
    weight = np.random.default_rng(0).standard_normal((8, 40)).astype(np.float32)
    path = product_file(tmp_path / "net.onnx", weight, np.ones(8, np.float32))
    before = path.read_bytes()
    assert store_few_bits(path, lambda product, widths: 4) == {}
    assert path.read_bytes() == before


def test_a_packed_file_has_few_bits_where_they_are_faster(tmp_path: Path) -> None:
    model = network_on_grid(Tokens, 4, "integer", "block-32")
    path = export(model, EXAMPLE, tmp_path / "net.onnx", pack=True, surrogate=few_bits_surrogate())
    products = {w.n: w for w in workloads_of_file(path) if isinstance(w, MatMul)}
    assert {n: w.weight_bits for n, w in products.items()} == {64: 0, 128: 4, 4: 4}
    kinds = [n.op_type for n in onnx.load(str(path)).graph.node]
    assert kinds.count("MatMulNBits") == 2
    assert error_of(path) < 0.05


@pytest.mark.parametrize("bits", [4, 8])
def test_few_bits_save_what_a_model_loads_again(bits: int, tmp_path: Path) -> None:
    model = network_on_grid(Tokens, bits, "symmetric", "channel")
    path = export(model, EXAMPLE, tmp_path / "net.onnx", pack=True, surrogate=reloading_surrogate())
    products = [w for w in workloads_of_file(path) if isinstance(w, MatMul)]
    assert [w.weight_bits for w in products] == [bits] * 3
    assert error_of(path) < 0.05


class Difference(nn.Module):
    """What is left of two equal layers, which rounding outweighs."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.other = nn.Linear(64, 64), nn.Linear(64, 64)
        self.other.load_state_dict(self.one.state_dict())

    def forward(self, x: Tensor) -> Tensor:
        return self.one(x) - self.other(x + 0.003)


def test_what_rounding_changes_is_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = network_on_grid(Difference, 8, "symmetric", "channel")
    with caplog.at_level(logging.WARNING, "latprof"):
        path = export(
            model, EXAMPLE, tmp_path / "net.onnx", pack=True, surrogate=reloading_surrogate()
        )
    assert [w.weight_bits for w in workloads_of_file(path) if isinstance(w, MatMul)] == [8, 8]
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith("net.onnx is ")
    assert line.endswith(
        "off the network on the example inputs, for its layers of few bits round "
        "what they multiply; judge the file on your own data"
    )


def test_it_is_a_matter_of_packed_files(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="surrogate is of weights in a packed file"):
        export(Tokens(), EXAMPLE, tmp_path / "net.onnx", surrogate=few_bits_surrogate())
