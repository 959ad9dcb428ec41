"""ONNX files that are slow for one known reason each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper, save

__all__ = ["SLOW_FILES"]

Nodes = list[Any]
Weights = dict[str, NDArray[Any]]
_FLOAT = TensorProto.FLOAT
_node = helper.make_node
_rng = np.random.default_rng(0)


def _weights(*shape: int) -> NDArray[Any]:
    return _rng.normal(0, 0.1, shape).astype(np.float32)


def _write(
    path: Path,
    nodes: Nodes,
    weights: Weights,
    shape: Sequence[int],
    out: Sequence[int] | None = None,
    kind: int = _FLOAT,
) -> Path:
    graph = helper.make_graph(
        nodes,
        "slow",
        [helper.make_tensor_value_info("x", kind, shape)],
        [helper.make_tensor_value_info("y", kind, out or shape)],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    save(model, path)
    return path


def _conv(given: str, made: str, weights: str, kernel: int = 3, group: int = 1) -> Any:
    return _node("Conv", [given, weights], [made], pads=[kernel // 2] * 4, group=group,
                 kernel_shape=[kernel] * 2)  # fmt: skip


def channels(path: Path) -> Path:
    """Depthwise convolutions of 97 channels, between 1x1 ones."""
    nodes, weights, name = [], {}, "x"
    for i in range(3):
        weights |= {f"e{i}": _weights(97, 16, 1, 1), f"d{i}": _weights(97, 1, 3, 3)}
        weights |= {f"p{i}": _weights(16, 97, 1, 1)}
        nodes += [_conv(name, f"a{i}", f"e{i}", 1), _node("Relu", [f"a{i}"], [f"b{i}"])]
        nodes += [_conv(f"b{i}", f"c{i}", f"d{i}", 3, 97), _node("Relu", [f"c{i}"], [f"f{i}"])]
        nodes += [_conv(f"f{i}", name := "y" if i == 2 else f"g{i}", f"p{i}", 1)]
    return _write(path, nodes, weights, [1, 16, 56, 56])


def transposes(path: Path) -> Path:
    """Rows of tokens and back to maps, only to add a vector."""
    nodes, weights, name = [], {"flat": np.array([1, 3136, 64])}, "x"
    weights["map"] = np.array([1, 56, 56, 64])
    for i in range(3):
        weights |= {f"w{i}": _weights(64, 64, 1, 1), f"v{i}": _weights(64)}
        nodes += [_conv(name, f"a{i}", f"w{i}", 1)]
        nodes += [_node("Transpose", [f"a{i}"], [f"b{i}"], perm=[0, 2, 3, 1])]
        nodes += [_node("Reshape", [f"b{i}", "flat"], [f"c{i}"])]
        nodes += [_node("Add", [f"c{i}", f"v{i}"], [f"d{i}"])]
        nodes += [_node("Reshape", [f"d{i}", "map"], [f"e{i}"])]
        name = "y" if i == 2 else f"f{i}"
        nodes += [_node("Transpose", [f"e{i}"], [name], perm=[0, 3, 1, 2])]
    return _write(path, nodes, weights, [1, 64, 56, 56])


def casts(path: Path) -> Path:
    """A ReLU in float16 between float32 convolutions."""
    nodes, weights, name = [], {}, "x"
    for i in range(3):
        weights[f"w{i}"] = _weights(32, 32, 1, 1)
        nodes += [_conv(name, f"a{i}", f"w{i}", 1)]
        nodes += [_node("Cast", [f"a{i}"], [f"b{i}"], to=TensorProto.FLOAT16)]
        nodes += [_node("Relu", [f"b{i}"], [f"c{i}"])]
        nodes += [_node("Cast", [f"c{i}"], [name := "y" if i == 2 else f"d{i}"], to=_FLOAT)]
    return _write(path, nodes, weights, [1, 32, 56, 56])


def half(path: Path) -> Path:
    """All of it in float16: each convolution is computed in float32 between two casts."""
    nodes, weights, name = [], {}, "x"
    for i in range(4):
        weights[f"w{i}"] = _weights(32, 32, 1, 1).astype(np.float16)
        weights[f"d{i}"] = _weights(32, 1, 3, 3).astype(np.float16)
        nodes += [_conv(name, f"a{i}", f"w{i}", 1), _node("Relu", [f"a{i}"], [f"b{i}"])]
        nodes += [_conv(f"b{i}", f"c{i}", f"d{i}", 3, 32)]
        nodes += [_node("Relu", [f"c{i}"], [name := "y" if i == 3 else f"e{i}"])]
    return _write(path, nodes, weights, [1, 32, 56, 56], kind=TensorProto.FLOAT16)


def float_island(path: Path) -> Path:
    """Quantized convolutions with one among them whose weights are float. Without an activation
    that is no op on integers after it, the runtime would quantize them itself."""
    weights: Weights = {
        "scale": np.float32(0.05), "zero": np.uint8(128), "weights_zero": np.int8(0),
        "weights_scale": np.float32(0.01), "w": _weights(128, 128, 3, 3),
    }  # fmt: skip
    weights = {name: np.asarray(value) for name, value in weights.items()}
    weights["q"] = _rng.integers(-127, 128, (128, 128, 3, 3)).astype(np.int8)

    def quantized(given: str, made: str) -> Nodes:
        return [
            _node("QuantizeLinear", [given, "scale", "zero"], [f"{made}_q"]),
            _node("DequantizeLinear", [f"{made}_q", "scale", "zero"], [made]),
        ]

    nodes = [
        _node("DequantizeLinear", ["q", "weights_scale", "weights_zero"], ["wq"]),
        *quantized("x", "a"), _conv("a", "b", "wq"), *quantized("b", "c"),
        _conv("c", "d", "w"), _node("LeakyRelu", ["d"], ["l"], alpha=0.1), *quantized("l", "e"),
        _conv("e", "f", "wq"), *quantized("f", "y"),
    ]  # fmt: skip
    return _write(path, nodes, weights, [1, 128, 28, 28])


def activation(path: Path) -> Path:
    """Hard swish out of four ops."""
    weights: Weights = {
        "three": np.asarray(np.float32(3)), "zero": np.asarray(np.float32(0)),
        "six": np.asarray(np.float32(6)),
    }  # fmt: skip
    nodes, name = [], "x"
    for i in range(3):
        weights[f"w{i}"] = _weights(32, 32, 1, 1)
        nodes += [_conv(name, f"a{i}", f"w{i}", 1)]
        nodes += [_node("Add", [f"a{i}", "three"], [f"b{i}"])]
        nodes += [_node("Clip", [f"b{i}", "zero", "six"], [f"c{i}"])]
        nodes += [_node("Mul", [f"a{i}", f"c{i}"], [f"d{i}"])]
        nodes += [_node("Div", [f"d{i}", "six"], [name := "y" if i == 2 else f"e{i}"])]
    return _write(path, nodes, weights, [1, 32, 56, 56])


def relu(path: Path) -> Path:
    """ReLU as the larger of a value and zero."""
    weights: Weights = {"zero": np.asarray(np.float32(0))}
    nodes, name = [], "x"
    for i in range(4):
        weights[f"w{i}"] = _weights(32, 32, 1, 1)
        nodes += [_conv(name, f"a{i}", f"w{i}", 1)]
        nodes += [_node("Max", [f"a{i}", "zero"], [name := "y" if i == 3 else f"b{i}"])]
    return _write(path, nodes, weights, [1, 32, 56, 56])


def one_row(path: Path) -> Path:
    """One row through two float matrices."""
    weights = {"w0": _weights(2048, 2048), "w1": _weights(2048, 2048)}
    nodes = [_node("MatMul", ["x", "w0"], ["a"]), _node("Relu", ["a"], ["b"])]
    return _write(path, [*nodes, _node("MatMul", ["b", "w1"], ["y"])], weights, [1, 2048])


def dead_branch(path: Path) -> Path:
    """Two convolutions that no output depends on."""
    weights = {f"w{i}": _weights(64, 64, 3, 3) for i in range(4)}
    nodes = [_conv("x", "a", "w0"), _conv("a", "b", "w1"), _conv("b", "unused", "w2")]
    return _write(path, [*nodes, _conv("a", "y", "w3")], weights, [1, 64, 28, 28])


def chain(path: Path) -> Path:
    """Thirty small steps that are one product and one sum."""
    weights = {"w": _weights(16, 16, 1, 1)}
    nodes, name = [_conv("x", "a", "w", 1)], "a"
    for i in range(30):
        weights[f"k{i}"] = np.full((16, 1, 1), 1 + 0.01 * i, np.float32)
        op = ("Mul", "Add", "Sub")[i % 3]
        nodes += [_node(op, [name, f"k{i}"], [name := "y" if i == 29 else f"b{i}"])]
    return _write(path, nodes, weights, [1, 16, 28, 28])


def padded_kernel(path: Path) -> Path:
    """A 3x3 kernel inside a 7x7 one."""
    large = np.zeros((48, 48, 7, 7), np.float32)
    large[:, :, 2:5, 2:5] = _weights(48, 48, 3, 3)
    weights = {"w0": large, "w1": _weights(48, 48, 1, 1)}
    nodes = [_conv("x", "a", "w0", 7), _node("Relu", ["a"], ["b"]), _conv("b", "y", "w1", 1)]
    return _write(path, nodes, weights, [1, 48, 28, 28])


def large_kernel(path: Path) -> Path:
    """A dense 7x7 kernel."""
    weights = {"w0": _weights(64, 64, 7, 7), "w1": _weights(64, 64, 1, 1)}
    nodes = [_conv("x", "a", "w0", 7), _node("Relu", ["a"], ["b"]), _conv("b", "y", "w1", 1)]
    return _write(path, nodes, weights, [1, 64, 28, 28])


def resize(path: Path) -> Path:
    """Cubic interpolation."""
    weights = {"w": _weights(16, 16, 1, 1), "scales": np.array([1, 1, 2, 2], np.float32)}
    nodes = [
        _conv("x", "a", "w", 1),
        _node("Resize", ["a", "", "scales"], ["y"], mode="cubic"),
    ]
    return _write(path, nodes, weights, [1, 16, 28, 28], [1, 16, 56, 56])


#: {name: (how it is written, the cause that is to be named first)}.
SLOW_FILES: dict[str, tuple[Callable[[Path], Path], str]] = {
    "activation": (activation, "activation"),
    "casts": (casts, "casts"),
    "chain": (chain, "chain"),
    "channels": (channels, "channels"),
    "dead_branch": (dead_branch, "dead-branch"),
    "float_island": (float_island, "float-island"),
    "half": (half, "float16"),
    "large_kernel": (large_kernel, "kernel"),
    "one_row": (one_row, "one-row"),
    "padded_kernel": (padded_kernel, "kernel"),
    "relu": (relu, "activation"),
    "resize": (resize, "resize"),
    "transposes": (transposes, "transposes"),
}
