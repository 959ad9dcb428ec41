"""Products: with a weight they read and write channels, between activations they tie them."""

from __future__ import annotations

import math

import numpy as np

from latprof.compress.trace._labels import LabelArray, varying
from latprof.compress.trace._tracer import Tracer, rule, unknown
from latprof.compress.trace._values import Call, Value
from latprof.workloads import MatMul

__all__: list[str] = []


@rule("linear")
def _linear(tracer: Tracer, call: Call) -> Value | list[Value]:
    weight = call["weight"]
    if weight.param is None or weight.ndim != 2:
        return unknown(tracer, call)
    k_dim, n_dim = weight.perm[1], weight.perm[0]
    return _weigh(tracer, call, call["input"], weight, k_dim, n_dim, call.get("bias"))


@rule("addmm")
def _addmm(tracer: Tracer, call: Call) -> Value | list[Value]:
    weight = call["mat2"]
    if (
        weight.param is None
        or weight.ndim != 2
        or (call.get("beta", 1), call.get("alpha", 1)) != (1, 1)
    ):
        return unknown(tracer, call)
    k_dim, n_dim = weight.perm
    return _weigh(tracer, call, call["mat1"], weight, k_dim, n_dim, call["self"])


@rule("matmul", "mm", "bmm")
def _matmul(tracer: Tracer, call: Call) -> Value | list[Value]:
    a, b = call["self"], call.get("other", call.get("mat2"))
    if b.param is not None and b.ndim == 2 and b.floating:
        return _weigh(tracer, call, a, b, b.perm[0], b.perm[1], None)
    if min(a.ndim, b.ndim) < 2:
        return unknown(tracer, call)
    return product(tracer, call, a, b)


@rule("embedding")
def _embedding(tracer: Tracer, call: Call) -> Value | list[Value]:
    weight = call["weight"]
    if weight.param is None:
        return unknown(tracer, call)
    tracer.pin(call["indices"], f"{call.where} looks up by it")
    writes = tracer.write(weight.param, weight.perm[1])
    tracer.emit_unmeasured(call)
    return tracer.value(call, writes.reshape([1] * (len(call.shapes[0]) - 1) + [-1]))


@rule("einsum")
def _einsum(tracer: Tracer, call: Call) -> Value | list[Value]:
    """Two activations, each index in at most one role; anything else is left alone."""
    equation, operands = call["equation"].replace(" ", ""), call["tensors"]
    if len(operands) != 2 or "." in equation or "->" not in equation:
        return unknown(tracer, call)
    (left, right), out = equation.split("->")[0].split(","), equation.split("->")[1]
    if any(len(set(s)) != len(s) for s in (left, right, out)):
        return unknown(tracer, call)
    every = out + "".join(sorted((set(left) | set(right)) - set(out)))
    arrays, extents = [], []
    for names, operand in ((left, operands[0]), (right, operands[1])):
        order = [names.index(i) for i in every if i in names]
        labels = tracer.of(operand).transpose(order)
        full = labels.reshape(
            [labels.shape[order.index(names.index(i))] if i in names else 1 for i in every]
        )
        arrays.append(full)
        extents.append(tuple(operand.shape[names.index(i)] if i in names else 1 for i in every))
    summed = list(range(len(out), len(every)))
    values = [
        Value(s, tracer.labels.tie(a, summed, f"{call.where} sums over them"))
        for a, s in zip(arrays, extents, strict=True)
    ]
    labels = tracer.meet(call, values)
    labels = tracer.labels.tie(labels, summed, f"{call.where} sums over them")
    made = tracer.value(call, labels.reshape(labels.shape[: len(out)]))
    sizes = {
        i: s
        for v, n in ((extents[0], every), (extents[1], every))
        for i, s in zip(n, v, strict=True)
        if s > 1
    }
    k = math.prod(sizes.get(i, 1) for i in every[len(out) :])
    m = math.prod(sizes.get(i, 1) for i in out if i not in right)
    n = math.prod(sizes.get(i, 1) for i in out if i not in left)
    both = [d for d, i in enumerate(out) if i in left and i in right]
    heads = _over(tracer.of(made), made.shape, both)
    tracer.emit(call, MatMul(m=m, k=k, n=n, batch=len(heads), weights=False), heads, heads)
    return made


@rule("scaled_dot_product_attention")
def _attention(tracer: Tracer, call: Call) -> Value | list[Value]:
    q, k, v, mask = call["query"], call["key"], call["value"], call.get("attn_mask")
    if call.get("enable_gqa") and k.shape[-3] != q.shape[-3]:
        k, v = (_repeat_heads(tracer, x, q.shape[-3]) for x in (k, v))
    turned = Value((*k.shape[:-2], k.shape[-1], k.shape[-2]), np.swapaxes(tracer.of(k), -1, -2))
    for scaled in (q, turned):  # each by the root of 1 / sqrt(d), as exporters write it
        tracer.emit_map(call, "scale", scaled)
    scores = product(tracer, call, q, turned)
    if mask is not None:
        meeting = tracer.meet(call, [scores, mask])
        scores = Value(scores.shape, meeting)
        tracer.emit_map(call, "add", scores)
    tied = tracer.labels.tie(tracer.of(scores), [scores.ndim - 1], f"{call.where} over it")
    scores = Value(scores.shape, tied)
    tracer.emit_map(call, "softmax", scores)
    return product(tracer, call, scores, v)


def product(tracer: Tracer, call: Call, a: Value, b: Value) -> Value:
    """(..., m, k) @ (..., k, n) of two activations: what is summed over lives and dies together."""
    reason = f"{call.where} sums over them"
    ndim = max(a.ndim, b.ndim)
    left = _lift(tracer.labels.tie(tracer.of(a), [a.ndim - 1], reason), ndim)
    right = _lift(tracer.labels.tie(tracer.of(b), [b.ndim - 2], reason), ndim)
    shape_a, shape_b = ((1,) * (ndim - v.ndim) + v.shape for v in (a, b))
    values = [Value((*shape_a[:-1], 1), left), Value((*shape_b[:-2], 1, shape_b[-1]), right)]
    labels = tracer.meet(call, values)
    batch = np.broadcast_shapes(shape_a[:-2], shape_b[:-2])
    shape = (*batch, shape_a[-2], shape_b[-1])
    found = tracer.value(call, labels)
    made = Value(shape, found.labels, source=call.name)
    heads = _over(made.labels, shape, range(len(batch)))
    work = MatMul(m=shape[-2], k=shape_a[-1], n=shape[-1], batch=len(heads), weights=False)
    tracer.emit(call, work, heads, heads)
    return made


def _weigh(
    tracer: Tracer, call: Call, x: Value, weight: Value, k_dim: int, n_dim: int, bias: Value | None
) -> Value | list[Value]:
    """x (..., k) times a weight whose dims k_dim and n_dim are k and n."""
    name = weight.param
    if name is None or (bias is not None and bias.param is None):
        return unknown(tracer, call)
    labels = tracer.of(x)
    elsewhere = [d for d in varying(labels) if d != x.ndim - 1]
    if elsewhere and labels.shape[-1] == 1:  # it mixes a dim beside the channels
        if (name, k_dim) in tracer.slots or (name, n_dim) in tracer.slots:
            return unknown(tracer, call)
        reads, writes = np.zeros(x.shape[-1], np.int64), np.zeros(call.shapes[0][-1], np.int64)
        made = tracer.value(call, labels)
    else:
        reads = tracer.column(x, x.ndim - 1, call.where)
        tracer.follow(name, k_dim, reads, reads=True)
        writes = tracer.write(name, n_dim)
        if bias is not None:
            tracer.follow(bias.param or "", bias.ndim - 1, writes)
        made = tracer.value(call, writes.reshape([1] * (len(call.shapes[0]) - 1) + [-1]))
    m = math.prod(x.shape[:-1])
    tracer.emit(call, MatMul(m=m, k=x.shape[-1], n=call.shapes[0][-1]), reads, writes)
    return made


def _over(labels: LabelArray, shape: tuple[int, ...], dims: object) -> LabelArray:
    """Labels of the batch dims, flat; what varies elsewhere counts as always there."""
    keep = list(dims)  # type: ignore[call-overload]
    rest = tuple(d for d in range(labels.ndim) if d not in keep)
    sizes = [shape[d] for d in keep]
    if any(labels.shape[d] > 1 for d in rest):
        return np.zeros(math.prod(sizes), np.int64)
    return np.broadcast_to(np.squeeze(labels, axis=rest), sizes).reshape(-1)


def _lift(labels: LabelArray, ndim: int) -> LabelArray:
    return labels.reshape((1,) * (ndim - labels.ndim) + labels.shape)


def _repeat_heads(tracer: Tracer, x: Value, heads: int) -> Value:
    labels = tracer.of(x)
    if labels.shape[-3] > 1:
        labels = np.repeat(labels, heads // x.shape[-3], axis=-3)
    return Value((*x.shape[:-3], heads, *x.shape[-2:]), labels)
