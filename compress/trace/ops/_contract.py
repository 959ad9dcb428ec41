"""Layers with weights: they read the channels of their input and make those of their output."""

from __future__ import annotations

import math

import numpy as np

from latprof.compress.trace._labels import LabelArray, varying
from latprof.compress.trace._tracer import Tracer, rule, unknown
from latprof.compress.trace._values import Call, Value
from latprof.compress.trace.ops._products import product
from latprof.workloads import MatMul

__all__ = ["add_bias", "computed_channels"]


@rule("linear")
def _linear(tracer: Tracer, call: Call) -> Value | list[Value]:
    x, weight, bias = call["input"], call["weight"], call.get("bias")
    if weight.ndim != 2:
        return unknown(tracer, call)
    if weight.param is not None or weight.fixed:
        return _weigh(tracer, call, x, weight, (1, 0), bias)
    turned = Value(weight.shape[::-1], np.swapaxes(tracer.of(weight), 0, 1))
    made = product(tracer, call, x, turned)
    return made if bias is None else tracer.value(call, tracer.meet(call, [made, bias]))


@rule("addmm")
def _addmm(tracer: Tracer, call: Call) -> Value | list[Value]:
    x, weight, bias = call["mat1"], call["mat2"], call["self"]
    if weight.ndim != 2 or (call.get("beta", 1), call.get("alpha", 1)) != (1, 1):
        return unknown(tracer, call)
    if weight.param is not None:
        return _weigh(tracer, call, x, weight, (0, 1), bias)
    made = product(tracer, call, x, weight)
    return tracer.value(call, tracer.meet(call, [made, bias]))


@rule("matmul", "mm", "bmm")
def _matmul(tracer: Tracer, call: Call) -> Value | list[Value]:
    a, b = call["self"], call.get("other", call.get("mat2"))
    if b.param is not None and b.ndim == 2 and b.floating and not a.fixed:
        return _weigh(tracer, call, a, b, (0, 1), None)
    if min(a.ndim, b.ndim) < 2:
        return unknown(tracer, call)
    return product(tracer, call, a, b)


@rule("embedding")
def _embedding(tracer: Tracer, call: Call) -> Value | list[Value]:
    weight = call["weight"]
    if weight.param is None or weight.window:
        return unknown(tracer, call)
    tracer.pin(call["indices"], f"{call.where} looks up by it")
    writes = tracer.write(weight.param, weight.perm[1])
    rows = math.prod(call["indices"].shape)
    tracer.lookups.setdefault(weight.param, []).append((call.module, rows))
    made = tracer.value(call, writes.reshape([1] * (len(call.shapes[0]) - 1) + [-1]))
    tracer.emit_map(call, "embedding", made, axis=made.ndim - 1)
    return made


def _weigh(
    tracer: Tracer, call: Call, x: Value, weight: Value, dims: tuple[int, int], bias: Value | None
) -> Value | list[Value]:
    """x (..., k) times a weight; ``dims`` are the weight's dims of k and n."""
    labels = tracer.of(x)
    k, n, rows = x.shape[-1], call.shapes[0][-1], math.prod(x.shape[:-1])
    if 0 in (k, n, rows):
        return unknown(tracer, call)
    k_dim, n_dim = (weight.perm[d] for d in dims) if weight.param is not None else dims
    beside = [d for d in varying(labels) if d != x.ndim - 1]
    if beside and labels.shape[-1] == 1:  # it mixes tokens; its channels are among the rows
        if weight.param is not None and not _may_stay_whole(tracer, weight):
            return unknown(tracer, call)
        made = tracer.value(call, labels)
        tracer.emit_later(
            call, lambda: _transposed_workload(tracer, Value((*x.shape[:-1], 1), labels), k, n)
        )
        return made
    if weight.param is None:
        writes = computed_channels(tracer, call, x, weight, dims[1])
        reads = np.zeros(k, np.int64)
    else:
        reads = tracer.column(x, x.ndim - 1, call.where)
        tracer.follow(weight.param, k_dim, reads, reads=True, span=weight.span(k_dim))
        writes = tracer.write(weight.param, n_dim, weight.span(n_dim))
    made = tracer.value(call, writes.reshape([1] * (len(call.shapes[0]) - 1) + [-1]))
    made = add_bias(tracer, call, made, bias, writes, made.ndim - 1)
    tracer.emit(call, MatMul(m=rows, k=k, n=n), reads, writes)
    return made


def _may_stay_whole(tracer: Tracer, weight: Value) -> bool:
    """Whether no channel lies along the weight's dims already."""
    return not any((weight.param, d) in tracer.slots for d in weight.perm)


def _transposed_workload(
    tracer: Tracer, rows: Value, k: int, n: int
) -> tuple[MatMul, LabelArray, LabelArray]:
    """x (rows, k) times W (k, n) whose rows are channels, as W' (n, k) times x' (k, rows): the
    same products, with the channels where a product's channels are counted."""
    found = tracer.labels.compress(rows.labels)
    made = np.broadcast_to(found, rows.shape).reshape(-1)
    return MatMul(m=n, k=k, n=len(made)), np.zeros(k, np.int64), made


def computed_channels(
    tracer: Tracer, call: Call, x: Value, weight: Value, out_dim: int
) -> LabelArray:
    """(n,) labels of the channels that a weight makes which the forward computes from parameters,
    as weight norm does. What it reads stays: a mask has no place in what is computed."""
    reason = f"{call.where} multiplies by a weight that the forward computes"
    tracer.pin(x, reason)
    size = weight.shape[out_dim]
    others = [d for d in range(weight.ndim) if d != out_dim]
    rows = tracer.labels.tie(tracer.of(weight), others, reason).reshape(-1)
    writes = tracer.labels.fresh(size)
    if rows.size == size and rows.all():
        tracer.labels.unite(writes, rows)
    else:
        tracer.stay(weight, reason)
        tracer.labels.pin(writes, reason)
    return writes


def add_bias(
    tracer: Tracer, call: Call, made: Value, bias: Value | None, writes: LabelArray, axis: int
) -> Value:
    """The value with a bias along ``axis``, a parameter or computed from some."""
    if bias is None:
        return made
    if bias.param is not None:
        dim = bias.perm[-1]
        tracer.follow(bias.param, dim, writes, span=bias.span(dim))
        return made
    along = tuple(-1 if d == axis else 1 for d in range(made.ndim))
    labels = tracer.of(bias)
    shaped = Value(
        tuple(n if d == axis else 1 for d, n in enumerate(made.shape)),
        labels.reshape(along) if labels.ndim == 1 else labels,
    )
    return tracer.value(call, tracer.meet(call, [made, shaped]))
