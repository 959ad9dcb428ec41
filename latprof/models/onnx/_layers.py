"""ONNX nodes with weights, as torch's layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx, nn
from torch.nn import functional

from latprof.models.onnx._node import Node, UnsupportedError

__all__ = ["LAYERS"]

_CONV: dict[int, type[nn.Module]] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
_CONV_TRANSPOSE: dict[int, type[nn.Module]] = {
    1: nn.ConvTranspose1d,
    2: nn.ConvTranspose2d,
    3: nn.ConvTranspose3d,
}
_BATCH_NORM: dict[int, type[nn.Module]] = {
    2: nn.BatchNorm1d,
    3: nn.BatchNorm1d,
    4: nn.BatchNorm2d,
    5: nn.BatchNorm3d,
}


def pads(node: Node, spatial: int, kernel: list[int], strides: list[int]) -> list[tuple[int, int]]:
    """(before, after) of each spatial dim, of what auto_pad asks for too."""
    dilations = list(node.attributes.get("dilations", [1] * spatial))
    mode = node.attributes.get("auto_pad", b"NOTSET").decode()
    if mode in ("SAME_UPPER", "SAME_LOWER"):
        sizes = node.in_shapes[0]
        if sizes is None:
            raise UnsupportedError("auto_pad of an input of unknown size")
        found = []
        for size, k, s, d in zip(sizes[2:], kernel, strides, dilations, strict=True):
            total = max(0, (-(-size // s) - 1) * s + (k - 1) * d + 1 - size)
            less, more = total // 2, total - total // 2
            found.append((less, more) if mode == "SAME_UPPER" else (more, less))
        return found
    flat = list(node.attributes.get("pads", [0] * 2 * spatial))
    return list(zip(flat[:spatial], flat[spatial:], strict=True))


def padded(
    node: Node, around: list[tuple[int, int]], value: float = 0.0
) -> tuple[fx.Node, list[int]]:
    """The first input, padded where the two sides differ, and what is left for the layer to pad."""
    x = node.tensor(0)
    if all(before == after for before, after in around):
        return x, [before for before, _ in around]
    flat = [n for before, after in reversed(around) for n in (before, after)]
    return node.call(functional.pad, x, flat, value=value), [0] * len(around)


def _conv(node: Node) -> fx.Node:
    weight, bias = node.constant(1), _optional(node, 2)
    spatial = weight.ndim - 2
    strides = list(node.attributes.get("strides", [1] * spatial))
    x, padding = padded(node, pads(node, spatial, list(weight.shape[2:]), strides))
    groups = node.attributes.get("group", 1)
    layer: Any = _of(_CONV, spatial)(
        weight.shape[1] * groups,
        weight.shape[0],
        tuple(weight.shape[2:]),
        stride=tuple(strides),
        padding=tuple(padding),
        dilation=tuple(node.attributes.get("dilations", [1] * spatial)),
        groups=groups,
        bias=bias is not None,
    )
    return node.layer(_filled(layer, weight=weight, bias=bias), x)


def _conv_transpose(node: Node) -> fx.Node:
    weight, bias = node.constant(1), _optional(node, 2)
    spatial = weight.ndim - 2
    if "output_shape" in node.attributes or b"SAME" in node.attributes.get("auto_pad", b""):
        raise UnsupportedError("its padding follows from an output shape")
    flat = list(node.attributes.get("pads", [0] * 2 * spatial))
    if flat[:spatial] != flat[spatial:]:
        raise UnsupportedError("it pads its two sides differently")
    groups = node.attributes.get("group", 1)
    layer: Any = _of(_CONV_TRANSPOSE, spatial)(
        weight.shape[0],
        weight.shape[1] * groups,
        tuple(weight.shape[2:]),
        stride=tuple(node.attributes.get("strides", [1] * spatial)),
        padding=tuple(flat[:spatial]),
        output_padding=tuple(node.attributes.get("output_padding", [0] * spatial)),
        dilation=tuple(node.attributes.get("dilations", [1] * spatial)),
        groups=groups,
        bias=bias is not None,
    )
    return node.layer(_filled(layer, weight=weight, bias=bias), node.tensor(0))


def _gemm(node: Node) -> fx.Node:
    scales = (node.attributes.get("alpha", 1.0), node.attributes.get("beta", 1.0))
    if scales != (1.0, 1.0) or node.attributes.get("transA", 0) or not node.is_constant(1):
        raise UnsupportedError("it is more than a layer of fixed weights")
    weight = node.constant(1)
    bias = _optional(node, 2)
    if not node.attributes.get("transB", 0):
        weight = weight.T
    if bias is not None:
        bias = np.broadcast_to(bias.reshape(-1), weight.shape[:1])
    return _linear(node, weight, bias)


def _matmul(node: Node) -> fx.Node:
    if node.is_constant(1) and node.constant(1).ndim == 2:
        return _linear(node, node.constant(1).T, None)
    return node.call(torch.matmul, node.tensor(0), node.tensor(1))


def _linear(node: Node, weight: NDArray[Any], bias: NDArray[Any] | None) -> fx.Node:
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias is not None)
    return node.layer(_filled(layer, weight=weight, bias=bias), node.tensor(0))


def _batch_norm(node: Node) -> fx.Node:
    scale, bias, mean, variance = (node.constant(i) for i in range(1, 5))
    shape = node.in_shapes[0]
    if shape is None:
        raise UnsupportedError("its input is of unknown size")
    eps = node.attributes.get("epsilon", 1e-5)
    layer: Any = _of(_BATCH_NORM, len(shape))(len(scale), eps=eps)
    _filled(layer, weight=scale, bias=bias, running_mean=mean, running_var=variance)
    return node.layer(layer, node.tensor(0))


def _layer_norm(node: Node) -> fx.Node:
    shape = node.in_shapes[0]
    if shape is None:
        raise UnsupportedError("its input is of unknown size")
    axis = node.attributes.get("axis", -1) % len(shape)
    eps = node.attributes.get("epsilon", 1e-5)
    weight, bias = node.constant(1), _optional(node, 2)
    layer = nn.LayerNorm(tuple(shape[axis:]), eps=eps, bias=bias is not None)
    return node.layer(_filled(layer, weight=weight, bias=bias), node.tensor(0))


def _instance_norm(node: Node) -> fx.Node:
    scale, bias = node.constant(1), node.constant(2)
    layer = _InstanceNorm(len(scale), node.attributes.get("epsilon", 1e-5))
    return node.layer(_filled(layer, weight=scale, bias=bias), node.tensor(0))


class _InstanceNorm(nn.Module):
    """Of any number of spatial dims."""

    def __init__(self, channels: int, eps: float) -> None:
        super().__init__()
        self.weight, self.bias = (nn.Parameter(torch.empty(channels)) for _ in range(2))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return functional.instance_norm(x, weight=self.weight, bias=self.bias, eps=self.eps)


def _embedding(node: Node) -> fx.Node:
    """Rows of a constant by computed numbers."""
    table = node.constant(0)
    layer = nn.Embedding(*table.shape)
    return node.layer(_filled(layer, weight=table), node.tensor(1))


def _optional(node: Node, index: int) -> NDArray[Any] | None:
    return node.constant(index) if node.has(index) else None


def _of(layers: dict[int, type[nn.Module]], dims: int) -> type[nn.Module]:
    if dims not in layers:
        raise UnsupportedError(f"it has {dims} dims")
    return layers[dims]


def _filled(layer: nn.Module, **values: NDArray[Any] | None) -> nn.Module:
    state = {k: torch.from_numpy(np.array(v)) for k, v in values.items() if v is not None}
    layer.load_state_dict(state, strict=False)
    return layer


LAYERS: dict[str, Callable[[Node], fx.Node]] = {
    "BatchNormalization": _batch_norm,
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "Embedding": _embedding,
    "Gemm": _gemm,
    "InstanceNormalization": _instance_norm,
    "LayerNormalization": _layer_norm,
    "MatMul": _matmul,
}
