"""Ops that only move data: the labels are moved by the very same op."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from latprof.compress.trace._labels import LabelArray
from latprof.compress.trace._tracer import Tracer, rule, tensors_in, unknown
from latprof.compress.trace._values import Call, Value, unlabelled

__all__: list[str] = []

_MOVES = (
    "view", "_unsafe_view", "_reshape_alias", "reshape", "flatten", "unflatten", "permute",
    "transpose", "t", "numpy_T", "mT", "movedim", "swapaxes", "swapdims", "unsqueeze", "squeeze",
    "expand", "broadcast_to", "slice", "narrow", "select", "split_with_sizes", "unbind", "cat",
    "concat", "stack", "flip", "repeat", "repeat_interleave", "tile", "diagonal", "unfold",
    "select_scatter", "slice_scatter", "atleast_1d", "atleast_2d", "atleast_3d",
    "hstack", "vstack", "dstack", "column_stack", "tensor_split", "pixel_shuffle",
    "pixel_unshuffle", "channel_shuffle", "roll", "view_as", "reshape_as",
)  # fmt: skip
_WINDOWS = ("slice", "narrow", "split_with_sizes", "split", "chunk", "tensor_split", "unsafe_split")
_TRANSPOSES = ("permute", "transpose", "t", "numpy_T", "mT", "swapaxes", "swapdims", "movedim")


@rule(*_MOVES)
def _move(tracer: Tracer, call: Call) -> Value | list[Value]:
    if call.name == "view" and "size" not in call.args:  # the bits of another type
        return unknown(tracer, call)
    if call.name in _TRANSPOSES and (turned := _transposed(tracer, call)) is not None:
        return turned
    if call.name in _WINDOWS and (parts := _windows(call)) is not None:
        return parts if _returns_list(call) else parts[0]
    if call.name == "roll":
        x = call["self"]
        tracer.keep_whole(tracer.of(x), _dims(call["dims"], x.ndim), f"{call.where} along channels")
    if call.name == "channel_shuffle":
        x = call["self"]
        column = tracer.column(x, 1, call.where)
        tracer.cut(column, call["groups"], f"{call.where} of {call['groups']} groups")
    given = {id(v): tracer.of(v) for v in tensors_in(call.args.values())}
    if not any(a.any() for a in given.values()):
        return _outputs(tracer, call, [unlabelled(len(s)) for s in call.shapes])
    moved = _moved(call, _swap(dict(call.args), given))
    several = list(moved) if isinstance(moved, (list, tuple)) else [moved]
    arrays = [_compact(tracer, p) for p in several]
    if call.name in ("cat", "concat", "stack") and (dim := _joined(call, given)) is not None:
        arrays = [tracer.labels.tie(a, [dim], f"{call.where} joins them") for a in arrays]
    return _outputs(tracer, call, arrays)


@rule("split", "chunk")
def _split(tracer: Tracer, call: Call) -> Value | list[Value]:
    """Equal parts: whatever is removed must leave them equal."""
    if (windows := _windows(call)) is not None:
        return windows
    x, dim = call["self"], call["dim"] % len(call["self"].shape)
    labels, parts = tracer.of(x), len(call.shapes)
    if labels.shape[dim] > 1 and x.shape[dim] % parts == 0:
        rows = np.moveaxis(labels, dim, 0)
        rows = rows.reshape(parts, -1, *rows.shape[1:])  # (parts, size, rest...)
        tracer.cut(rows.reshape(-1), parts, f"{call.where} cuts it into {parts} equal parts")
    return _move(tracer, call)


@rule("constant_pad_nd", "pad")
def _pad(tracer: Tracer, call: Call) -> Value | list[Value]:
    if call.get("mode", "constant") != "constant":
        return _pad_border(tracer, call)
    labels, pads = tracer.of(call["self"]), list(call["pad"])
    for n, d in enumerate(reversed(range(labels.ndim - len(pads) // 2, labels.ndim))):
        before, after = pads[2 * n : 2 * n + 2]
        if labels.shape[d] > 1:  # elsewhere what is added belongs to the channel it is added to
            labels = np.pad(
                labels[
                    (slice(None),) * d + (slice(max(0, -before), labels.shape[d] - max(0, -after)),)
                ],
                [(max(0, before), max(0, after)) if i == d else (0, 0) for i in range(labels.ndim)],
            )
    return tracer.value(call, labels)


@rule("reflection_pad1d", "reflection_pad2d", "replication_pad1d", "replication_pad2d")
def _pad_border(tracer: Tracer, call: Call) -> Value:
    x, padded = call["self"], call.get("padding", call.get("pad"))
    last = range(x.ndim - len(padded) // 2, x.ndim)
    return tracer.value(call, tracer.labels.tie(tracer.of(x), list(last), f"{call.where} over it"))


@rule("new_zeros", "new_ones", "new_full")
def _new(tracer: Tracer, call: Call) -> Value:
    """A new constant, of a size that the forward tells."""
    (shape,), (floating,) = call.shapes, call.floating
    number = {"new_zeros": 0, "new_ones": 1}.get(call.name, call.get("fill_value"))
    const = torch.full(shape, number, dtype=torch.float32 if floating else torch.int64)
    return Value(shape, unlabelled(len(shape)), floating, const=const, fixed=True)


@rule("new_empty", "new_empty_strided")
def _new_empty(tracer: Tracer, call: Call) -> Value:
    return tracer.value(call, unlabelled(len(call.shapes[0])))


@rule("im2col")
def _im2col(tracer: Tracer, call: Call) -> Value:
    """(batch, c, h, w) to (batch, c * kernel, places): each channel becomes kernel rows."""
    x = call["self"]
    axis = x.ndim - 3
    column = tracer.column(x, axis, call.where)
    rows = np.repeat(column, call.shapes[0][axis] // len(column))
    tracer.emit_unmeasured(call)
    return tracer.value(call, rows.reshape([-1 if d == axis else 1 for d in range(axis + 2)]))


@rule("col2im")
def _col2im(tracer: Tracer, call: Call) -> Value:
    """The other way round: the rows of one channel's kernel go together."""
    x = call["self"]
    axis = x.ndim - 2
    rows = tracer.column(x, axis, call.where)
    reason = f"{call.where} adds them up"
    column = tracer.labels.tie(rows.reshape(call.shapes[0][axis], -1), [1], reason).reshape(-1)
    tracer.emit_unmeasured(call)
    return tracer.value(call, column.reshape([-1 if d == axis else 1 for d in range(x.ndim + 1)]))


@rule("index", "_unsafe_index", "index_select", "gather", "take_along_dim")
def _index(tracer: Tracer, call: Call) -> Value | list[Value]:
    """Positions known only as numbers: labels may vary along the dims not looked up, no other."""
    x = call["self"]
    labels = tracer.of(x)
    if call.name in ("index", "_unsafe_index"):
        looked_up = [d for d, i in enumerate(call["indices"]) if i is not None]
    else:
        looked_up = [call["dim"] % x.ndim]
    positions = [v for v in tensors_in(call.args.values()) if v is not x]
    for position in positions:
        tracer.pin(position, f"{call.where} looks up by it")
    constant = all(v.const is not None for v in positions)
    if any(labels.shape[d] > 1 for d in looked_up):
        tracer.keep_whole(labels, looked_up, f"{call.where} looks channels up by position")
    if not constant:
        if call.name in ("gather", "take_along_dim"):
            index = call["index"] if call.name == "gather" else call["indices"]
            if any(labels.shape[d] > 1 and index.shape[d] != x.shape[d] for d in range(x.ndim)):
                return unknown(tracer, call)
            return tracer.value(call, labels)
        return _index_unknown(tracer, call, x, labels, looked_up)
    arrays = {id(x): labels}
    return _outputs(tracer, call, [_compact(tracer, _moved(call, _swap(dict(call.args), arrays)))])


def _joined(call: Call, given: Mapping[int, LabelArray]) -> int | None:
    """The dim of a cat or stack, where the channels lie along another one in every part: a slice
    of that one is cut from all parts or from none."""
    parts = [given[id(v)] for v in call["tensors"]]
    dim: int = call["dim"] % len(call.shapes[0])
    if call.name != "stack" and any(a.shape[dim] > 1 for a in parts):
        return None
    return dim


def _moved(call: Call, args: dict[str, Any]) -> Any:
    """The op itself, on labels; where it insists on a view of memory, the copy will do."""
    if call.name in ("view", "_unsafe_view", "_reshape_alias"):
        return args["self"].reshape(args["size"])
    if call.name in ("view_as", "reshape_as"):
        return args["self"].reshape(call.shapes[0])
    return call.target(**args)


def _index_unknown(
    tracer: Tracer, call: Call, x: Value, labels: LabelArray, looked_up: list[int]
) -> Value | list[Value]:
    """Indices depend on the input: look up position 0 everywhere, as labels do not vary there."""
    if any(labels.shape[d] > 1 for d in looked_up):
        return unknown(tracer, call)
    args = dict(call.args)
    key = "indices" if "indices" in args else "index"

    def zeros(index: Any) -> Any:
        return torch.zeros(index.shape, dtype=torch.int64) if isinstance(index, Value) else index

    args[key] = [zeros(i) for i in args[key]] if key == "indices" else zeros(args[key])
    return tracer.value(call, _compact(tracer, call.target(**_swap(args, {id(x): labels}))))


def _outputs(tracer: Tracer, call: Call, arrays: list[LabelArray]) -> Value | list[Value]:
    values = [tracer.value(call, a, i) for i, a in enumerate(arrays)]
    return values if _returns_list(call) else values[0]


def _returns_list(call: Call) -> bool:
    returns = call.target._schema.returns
    return not (len(returns) == 1 and isinstance(returns[0].type, torch.TensorType))


def _swap(args: Any, arrays: Mapping[int, LabelArray]) -> Any:
    """Arguments with each value replaced by its labels, or by the constant that it is."""
    if isinstance(args, Value):
        if id(args) in arrays and (args.const is None or args.floating):
            return torch.from_numpy(np.ascontiguousarray(arrays[id(args)])).expand(args.shape)
        return args.const
    if isinstance(args, dict):
        return {k: _swap(v, arrays) for k, v in args.items()}
    if isinstance(args, (list, tuple)):
        return [_swap(v, arrays) for v in args]
    return args


def _compact(tracer: Tracer, moved: torch.Tensor) -> LabelArray:
    """Labels as an array without the dims that an expanded tensor merely repeats."""
    for d, step in enumerate(moved.stride()):
        if step == 0 and moved.shape[d] > 1:
            moved = moved.narrow(d, 0, 1)
    return tracer.labels.compress(moved.contiguous().numpy())


def _windows(call: Call) -> list[Value] | None:
    """Parts of a parameter along one dim are still that parameter."""
    x = next(iter(tensors_in(call.args.values())))
    if x.param is None or not x.floating or x.ndim < 1 or call.get("step", 1) != 1:
        return None
    dim = call.get("dim", 0) % x.ndim
    own = x.perm[dim]
    start = x.window.get(own, (0, 0))[0]
    if call.name in ("slice", "narrow"):
        first = call.get("start", 0)
        start += first + x.shape[dim] if first < 0 else min(first, x.shape[dim])
    parts = []
    for shape in call.shapes:
        stop = start + shape[dim]
        window = {**x.window, own: (start, stop)}
        parts.append(Value(shape, x.labels, x.floating, x.param, x.perm, window, source=call.name))
        start = stop
    return parts


def _transposed(tracer: Tracer, call: Call) -> Value | None:
    """A transposed parameter is still that parameter."""
    x = next(iter(tensors_in(call.args.values())))
    if x.param is None or ((x.param, 0) in tracer.slots and x.ndim == 1):
        return None
    order = torch.arange(x.ndim).numpy()
    dims = torch.empty(tuple(range(2, x.ndim + 2)), device="meta")
    turned = call.target(**_swap_meta(dict(call.args), dims))
    order = np.array([n - 2 for n in turned.shape])
    perm = tuple(x.perm[i] for i in order)
    return Value(call.shapes[0], x.labels, x.floating, x.param, perm, x.window, source=call.name)


def _swap_meta(args: dict[str, Any], dims: torch.Tensor) -> dict[str, Any]:
    return {k: dims if isinstance(v, Value) else v for k, v in args.items()}


def _dims(dims: Any, ndim: int) -> list[int]:
    return [d % ndim for d in ([dims] if isinstance(dims, int) else dims)] or list(range(ndim))
