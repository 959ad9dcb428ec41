"""ONNX nodes without weights, as torch's functions. The leading dim of a tensor, where a file says
how large it is, is taken as that of its batch, which may be another in training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, fx
from torch.nn import functional

from latprof.models.onnx._layers import padded, pads
from latprof.models.onnx._node import Node, UnsupportedError

__all__ = ["FUNCTIONS"]

#: By the numbers of ONNX's TensorProto.
_DTYPES = {
    1: torch.float32, 2: torch.uint8, 3: torch.int8, 5: torch.int16, 6: torch.int32,
    7: torch.int64, 9: torch.bool, 10: torch.float16, 11: torch.float64, 16: torch.bfloat16,
}  # fmt: skip

_SAME = {
    "Abs": torch.abs, "Add": torch.add, "And": torch.logical_and, "Ceil": torch.ceil,
    "Cos": torch.cos, "Div": torch.div, "Equal": torch.eq, "Erf": torch.erf, "Exp": torch.exp,
    "Floor": torch.floor, "Greater": torch.gt, "GreaterOrEqual": torch.ge,
    "HardSwish": functional.hardswish, "IsNaN": torch.isnan, "Less": torch.lt,
    "LessOrEqual": torch.le, "Log": torch.log, "Max": torch.maximum, "Min": torch.minimum,
    "Mish": functional.mish, "Mul": torch.mul, "Neg": torch.neg, "Not": torch.logical_not,
    "Or": torch.logical_or, "Pow": torch.pow, "Reciprocal": torch.reciprocal, "Relu": torch.relu,
    "Round": torch.round, "Selu": functional.selu, "Sigmoid": torch.sigmoid, "Sign": torch.sign,
    "Sin": torch.sin, "Softplus": functional.softplus, "Softsign": functional.softsign,
    "Sqrt": torch.sqrt, "Sub": torch.sub, "Tanh": torch.tanh, "Where": torch.where,
}  # fmt: skip

_REDUCE: dict[str, Callable[..., Tensor]] = {
    "ReduceL2": partial(torch.linalg.vector_norm, ord=2),
    "ReduceMax": torch.amax,
    "ReduceMean": torch.mean,
    "ReduceMin": torch.amin,
    "ReduceSum": torch.sum,
}


def _same(node: Node) -> fx.Node:
    return node.call(_SAME[node.op], *(node.tensor(i) for i in range(len(node.inputs))))


def _identity(node: Node) -> fx.Node:
    return node.tensor(0)


def _cast(node: Node) -> fx.Node:
    dtype = _DTYPES.get(node.attributes["to"])
    if dtype is None:
        raise UnsupportedError(f"it casts to type {node.attributes['to']}")
    return node.call(Tensor.to, node.tensor(0), dtype)


def _clip(node: Node) -> fx.Node:
    bounds = [
        float(node.constant(i).reshape(())) if node.has(i) else node.attributes.get(name)
        for i, name in ((1, "min"), (2, "max"))
    ]
    if bounds == [0.0, 6.0]:
        return node.call(functional.relu6, node.tensor(0))
    return node.call(torch.clamp, node.tensor(0), *bounds)


def _leaky_relu(node: Node) -> fx.Node:
    return node.call(functional.leaky_relu, node.tensor(0), node.attributes.get("alpha", 0.01))


def _elu(node: Node) -> fx.Node:
    return node.call(functional.elu, node.tensor(0), node.attributes.get("alpha", 1.0))


def _gelu(node: Node) -> fx.Node:
    how = node.attributes.get("approximate", b"none").decode()
    return node.call(functional.gelu, node.tensor(0), approximate=how)


def hard_sigmoid(x: Tensor, alpha: float, beta: float) -> Tensor:
    return torch.clamp(x * alpha + beta, 0.0, 1.0)


def _hard_sigmoid(node: Node) -> fx.Node:
    alpha, beta = node.attributes.get("alpha", 0.2), node.attributes.get("beta", 0.5)
    if abs(alpha - 1 / 6) < 1e-6 and beta == 0.5:
        return node.call(functional.hardsigmoid, node.tensor(0))
    return node.call(hard_sigmoid, node.tensor(0), alpha, beta)


def p_relu(x: Tensor, slope: Tensor) -> Tensor:
    return torch.where(x < 0, x * slope, x)


def _p_relu(node: Node) -> fx.Node:
    return node.call(p_relu, node.tensor(0), node.tensor(1))


def _softmax(node: Node) -> fx.Node:
    shape = node.in_shapes[0]
    axis = node.attributes.get("axis", -1 if node.opset >= 13 else 1)
    if node.opset < 13 and (shape is None or axis % len(shape) != len(shape) - 1):
        raise UnsupportedError("it flattens several dims, as opsets before 13 do")
    function = torch.softmax if node.op == "Softmax" else torch.log_softmax
    return node.call(function, node.tensor(0), dim=axis)


def reshaped(x: Tensor, shape: Sequence[int], front: int, back: int) -> Tensor:
    """To this shape, of which -1 is one dim, ``front`` dims at its beginning and ``back`` dims at
    its end are the input's, whatever their sizes."""
    end = len(shape) - back
    kept = x.shape[x.ndim - back :] if back else ()
    return x.reshape(*x.shape[:front], *shape[front:end], *kept)


def _reshape(node: Node) -> fx.Node:
    before, after = node.in_shapes[0], node.out_shapes[0]
    if before is None or after is None:
        raise UnsupportedError("it is of unknown size")
    if not after:
        return node.call(Tensor.reshape, node.tensor(0), ())
    return node.call(reshaped, node.tensor(0), *reshape_plan(before, after))


def reshape_plan(before: tuple[int, ...], after: tuple[int, ...]) -> tuple[list[int], int, int]:
    """(shape, front, back) of ``reshaped``, so that another batch, or fewer channels, fit too."""
    front = 0
    while front < min(len(before), len(after)) and before[front] == after[front]:
        front += 1
    back, most = 0, min(len(before), len(after)) - max(front, 1)
    while back < most and before[-1 - back] == after[-1 - back]:
        back += 1
    shape, middle = list(after), len(after) - front - back
    if not front or middle == 1:
        shape[front] = -1  # the batch, with what is joined to it; or all that is left
    elif middle > 1:
        # Of a last dim that is split the parts keep their size (heads); of others the number of
        # parts is kept (groups of channels).
        shape[len(after) - back - (1 if back else 2)] = -1
    return shape, front, back


def _transpose(node: Node) -> fx.Node:
    shape = node.in_shapes[0]
    order = node.attributes.get("perm")
    if order is None and shape is not None:
        order = list(range(len(shape)))[::-1]
    if order is None:
        raise UnsupportedError("its input is of unknown size")
    return node.call(torch.permute, node.tensor(0), list(order))


def joined(parts: Sequence[Tensor], axis: int) -> Tensor:
    """What the file holds for one input is repeated for each input of the batch."""
    if axis % parts[0].ndim:
        batch = max(part.shape[0] for part in parts)
        parts = [p.expand(batch, *p.shape[1:]) if p.shape[0] < batch else p for p in parts]
    return torch.cat(list(parts), axis)


def _concat(node: Node) -> fx.Node:
    parts = [node.tensor(i) for i in range(len(node.inputs))]
    return node.call(joined, parts, node.attributes["axis"])


def _split(node: Node) -> fx.Node:
    axis, shape = node.attributes.get("axis", 0), node.in_shapes[0]
    sizes = node.numbers(1, "split")
    if sizes is None:
        if shape is None:
            raise UnsupportedError("its input is of unknown size")
        each = -(-shape[axis] // len(node.out_shapes))
        return node.call(torch.split, node.tensor(0), each, dim=axis)
    return node.call(torch.split, node.tensor(0), sizes, dim=axis)


def sliced(x: Tensor, cuts: Sequence[tuple[int, int | None, int | None, int]]) -> Tensor:
    where: list[Any] = [slice(None)] * x.ndim
    for axis, start, end, step in cuts:
        where[axis] = slice(start, end, step)
    return x[tuple(where)]


def _slice(node: Node) -> fx.Node:
    starts, ends = node.numbers(1, "starts") or [], node.numbers(2, "ends") or []
    axes = node.numbers(3, "axes") or list(range(len(starts)))
    steps = node.numbers(4, "steps") or [1] * len(starts)
    if min(steps, default=1) < 1:
        raise UnsupportedError("it walks backwards")
    far = 2**31
    cuts = [
        (axis, None if abs(start) > far else start, None if end > far else end, step)
        for axis, start, end, step in zip(axes, starts, ends, steps, strict=True)
    ]
    return node.call(sliced, node.tensor(0), cuts)


def _gather(node: Node) -> fx.Node:
    axis = node.attributes.get("axis", 0)
    if not node.is_constant(1):
        if node.is_constant(0) and axis == 0:
            table, numbers = node.tensor(0), node.tensor(1)
            return node.call(functional.embedding, numbers, table)
        raise UnsupportedError("it picks by computed numbers")
    numbers_ = node.constant(1)
    if numbers_.ndim == 0:
        return node.call(torch.select, node.tensor(0), axis, int(numbers_))
    return node.call(picked, node.tensor(0), axis, node.tensor(1))


def picked(x: Tensor, axis: int, numbers: Tensor) -> Tensor:
    axis %= x.ndim
    found = torch.index_select(x, axis, numbers.reshape(-1))
    return found.reshape(*x.shape[:axis], *numbers.shape, *x.shape[axis + 1 :])


def _gather_nd(node: Node) -> fx.Node:
    """With numbers in the file, the same for each member of the batch: the first of each is 0."""
    if node.attributes.get("batch_dims", 0) or not node.is_constant(1):
        raise UnsupportedError("it picks by computed numbers, or within a batch")
    numbers = node.constant(1)
    if numbers.shape[0] != 1 or numbers.shape[-1] < 2 or numbers[..., 0].any():
        raise UnsupportedError("it picks other numbers for some members of the batch")
    return node.call(picked_at, node.tensor(0), node.tensor(1))


def picked_at(x: Tensor, numbers: Tensor) -> Tensor:
    """(B, ...) at the places (1, ..., D) of its first D axes; the first axis is the batch."""
    places: list[slice | Tensor] = [slice(None), *numbers[0, ..., 1:].unbind(-1)]
    return x[tuple(places)]


def expanded(x: Tensor, shape: Sequence[int], batch: Tensor) -> Tensor:
    return x.expand(batch.shape[0], *shape[1:])


def _expand(node: Node) -> fx.Node:
    shape = node.out_shapes[0]
    if shape is None:
        raise UnsupportedError("its output is of unknown size")
    first = next(n for n in node.graph.nodes if n.op == "placeholder")
    return node.call(expanded, node.tensor(0), list(shape), first)


def _squeeze(node: Node) -> fx.Node:
    axes, shape = node.numbers(1, "axes"), node.in_shapes[0]
    if axes is None and shape is not None:
        axes = [i for i, n in enumerate(shape) if n == 1 and i]
    return node.call(torch.squeeze, node.tensor(0), axes)


def unsqueezed(x: Tensor, axes: Sequence[int]) -> Tensor:
    dims = x.ndim + len(axes)
    for axis in sorted(a % dims for a in axes):
        x = x.unsqueeze(axis)
    return x


def _unsqueeze(node: Node) -> fx.Node:
    return node.call(unsqueezed, node.tensor(0), node.numbers(1, "axes") or [])


def _flatten(node: Node) -> fx.Node:
    if node.attributes.get("axis", 1) != 1:
        raise UnsupportedError("it flattens from another dim than the second")
    return node.call(torch.flatten, node.tensor(0), 1)


def _reduce(node: Node) -> fx.Node:
    axes, shape = node.numbers(1, "axes"), node.in_shapes[0]
    if axes is None:
        if node.attributes.get("noop_with_empty_axes", 0):
            return node.tensor(0)
        if shape is None:
            raise UnsupportedError("its input is of unknown size")
        axes = list(range(len(shape)))
    keep = bool(node.attributes.get("keepdims", 1))
    return node.call(_REDUCE[node.op], node.tensor(0), dim=axes, keepdim=keep)


def _global_pool(node: Node) -> fx.Node:
    shape = node.in_shapes[0]
    if shape is None:
        raise UnsupportedError("its input is of unknown size")
    dims = list(range(2, len(shape)))
    function = torch.mean if node.op == "GlobalAveragePool" else torch.amax
    return node.call(function, node.tensor(0), dim=dims, keepdim=True)


def _pool(node: Node) -> fx.Node:
    kernel = list(node.attributes["kernel_shape"])
    dims = len(kernel)
    strides = list(node.attributes.get("strides", [1] * dims))
    around = pads(node, dims, kernel, strides)
    ceil = bool(node.attributes.get("ceil_mode", 0))
    if dims not in (1, 2, 3):
        raise UnsupportedError(f"it has {dims} dims")
    if node.op == "MaxPool":
        if len(node.out_shapes) > 1:
            raise UnsupportedError("its indices are read")
        x, padding = padded(node, around, float("-inf"))
        dilations = list(node.attributes.get("dilations", [1] * dims))
        max_pool = (functional.max_pool1d, functional.max_pool2d, functional.max_pool3d)[dims - 1]
        return node.call(max_pool, x, kernel, strides, padding, dilation=dilations, ceil_mode=ceil)
    count = bool(node.attributes.get("count_include_pad", 0))
    if not count and any(before != after for before, after in around):
        raise UnsupportedError("it pads its two sides differently")
    x, padding = padded(node, around)
    average = (functional.avg_pool1d, functional.avg_pool2d, functional.avg_pool3d)[dims - 1]
    return node.call(average, x, kernel, strides, padding, ceil, count)


def _pad(node: Node) -> fx.Node:
    flat = node.numbers(1, "pads") or []
    mode = node.attributes.get("mode", b"constant").decode()
    modes = {"constant": "constant", "reflect": "reflect", "edge": "replicate"}
    if mode not in modes or node.has(3):
        raise UnsupportedError(f"its mode is {mode}, or it pads some axes")
    value = float(node.constant(2).reshape(())) if node.has(2) else 0.0
    dims = len(flat) // 2
    around = [(flat[i], flat[i + dims]) for i in range(dims)]
    while around and around[0] == (0, 0):
        around.pop(0)
    sizes = [n for pair in reversed(around) for n in pair]
    fill = {"value": value} if mode == "constant" else {}
    return node.call(functional.pad, node.tensor(0), sizes, mode=modes[mode], **fill)


def _resize(node: Node) -> fx.Node:
    out, shape = node.out_shapes[0], node.in_shapes[0]
    if out is None or shape is None or out[:2] != shape[:2]:
        raise UnsupportedError("it resizes more than height and width")
    mode = node.attributes.get("mode", b"nearest").decode()
    how = node.attributes.get("coordinate_transformation_mode", b"half_pixel").decode()
    corners = how == "align_corners"
    if mode == "nearest":
        rounding = node.attributes.get("nearest_mode", b"round_prefer_floor").decode()
        whole = all(n % s == 0 for n, s in zip(out[2:], shape[2:], strict=True))
        plain = how == "asymmetric" and rounding == "floor"
        if not plain and not (whole and how in ("half_pixel", "pytorch_half_pixel", "asymmetric")):
            raise UnsupportedError(f"it takes the nearest by {how} and {rounding}")
        return node.call(functional.interpolate, node.tensor(0), list(out[2:]), mode="nearest")
    names = {"linear": {3: "linear", 4: "bilinear", 5: "trilinear"}, "cubic": {4: "bicubic"}}
    name = names.get(mode, {}).get(len(shape))
    if name is None or how not in ("half_pixel", "pytorch_half_pixel", "align_corners"):
        raise UnsupportedError(f"its mode is {mode} by {how}")
    return node.call(
        functional.interpolate, node.tensor(0), list(out[2:]), mode=name, align_corners=corners
    )


def depth_to_space(x: Tensor, block: int) -> Tensor:
    """As ONNX's mode DCR has it."""
    n, c, h, w = x.shape
    x = x.reshape(n, block, block, c // block**2, h, w).permute(0, 3, 4, 1, 5, 2)
    return x.reshape(n, c // block**2, h * block, w * block)


def _depth_to_space(node: Node) -> fx.Node:
    block = node.attributes["blocksize"]
    if node.attributes.get("mode", b"DCR") == b"CRD":
        return node.call(functional.pixel_shuffle, node.tensor(0), block)
    return node.call(depth_to_space, node.tensor(0), block)


def _tile(node: Node) -> fx.Node:
    return node.call(torch.tile, node.tensor(0), node.numbers(1, "repeats") or [])


def _einsum(node: Node) -> fx.Node:
    equation = node.attributes["equation"].decode()
    return node.call(torch.einsum, equation, *(node.tensor(i) for i in range(len(node.inputs))))


FUNCTIONS: dict[str, Callable[[Node], fx.Node]] = {
    **dict.fromkeys(_SAME, _same),
    **dict.fromkeys(_REDUCE, _reduce),
    **dict.fromkeys(("Softmax", "LogSoftmax"), _softmax),
    **dict.fromkeys(("GlobalAveragePool", "GlobalMaxPool"), _global_pool),
    **dict.fromkeys(("AveragePool", "MaxPool"), _pool),
    **dict.fromkeys(("Identity", "Dropout"), _identity),
    "Cast": _cast, "Clip": _clip, "Concat": _concat, "DepthToSpace": _depth_to_space,
    "Einsum": _einsum, "Elu": _elu, "Expand": _expand, "Flatten": _flatten, "Gather": _gather,
    "GatherND": _gather_nd, "Gelu": _gelu, "HardSigmoid": _hard_sigmoid,
    "LeakyRelu": _leaky_relu, "PRelu": _p_relu, "Pad": _pad, "Reshape": _reshape,
    "Resize": _resize, "Slice": _slice, "Split": _split, "Squeeze": _squeeze, "Tile": _tile,
    "Transpose": _transpose, "Unsqueeze": _unsqueeze,
}  # fmt: skip
