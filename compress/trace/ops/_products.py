"""Products of two activations: what is summed over goes as one, the rest stays apart."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from latprof.compress.trace._labels import LabelArray, Labels, varying
from latprof.compress.trace._tracer import Tracer, rule, unknown
from latprof.compress.trace._values import Call, Value
from latprof.workloads import MatMul

__all__ = ["product"]


def product(tracer: Tracer, call: Call, a: Value, b: Value) -> Value:
    """(..., m, k) @ (..., k, n): the channels that are summed over can only go together."""
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
    _emit(tracer, call, made, shape_a[-1], [range(len(batch)), [ndim - 2], [ndim - 1]])
    return made


@rule("baddbmm")
def _baddbmm(tracer: Tracer, call: Call) -> Value:
    made = product(tracer, call, call["batch1"], call["batch2"])
    if call.get("beta", 1) == 0:
        return made
    return tracer.value(call, tracer.meet(call, [made, call["self"]]))


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
    k = math.prod(sizes.get(i, 1) for i in every[len(out) :] if i in left and i in right)
    sides = [
        [d for d, i in enumerate(out) if (i in left, i in right) == side]
        for side in ((True, True), (True, False), (False, True))
    ]
    _emit(tracer, call, made, k, sides)
    return made


def _emit(tracer: Tracer, call: Call, made: Value, k: int, sides: Sequence[Sequence[int]]) -> None:
    """Record the product that made ``made`` by summing over k; ``sides`` are its dims that both
    factors have, that the left one has, and that the right one has."""
    if 0 not in (*made.shape, k):
        tracer.emit_later(call, lambda: product_workload(tracer.labels, made, k, sides))


def product_workload(
    labels: Labels, made: Value, k: int, sides: Sequence[Sequence[int]]
) -> tuple[MatMul, LabelArray, LabelArray]:
    """A product's workload, with the dims along which channels lie where they can be counted:
    along the batch, as heads do, or along the columns of the right factor. Where they are rows of
    the left factor, the product is taken transposed, which computes the same."""
    found = labels.compress(made.labels)
    both, left, right = (list(side) for side in sides)
    along = varying(found)
    batch, m, n = (math.prod(made.shape[d] for d in side) for side in (both, left, right))
    if along and set(along) <= set(left):
        left, right, m, n = right, left, n, m
    if along and set(along) <= set(right):
        work = MatMul(m=m, k=k, n=n, batch=batch)
        return work, np.zeros(k, np.int64), _flat(found, made.shape, right)
    heads = np.zeros(batch, np.int64)
    if along and set(along) <= set(both):
        heads = _flat(found, made.shape, both)
    return MatMul(m=m, k=k, n=n, batch=batch, weights=False), heads, heads


def _flat(labels: LabelArray, shape: tuple[int, ...], dims: Sequence[int]) -> LabelArray:
    """Labels of these dims, flat; they do not vary along the others."""
    rest = tuple(d for d in range(labels.ndim) if d not in dims)
    sizes = [shape[d] for d in dims]
    return np.broadcast_to(np.squeeze(labels, axis=rest), sizes).reshape(-1)


def _lift(labels: LabelArray, ndim: int) -> LabelArray:
    return labels.reshape((1,) * (ndim - labels.ndim) + labels.shape)
