"""Attention as one op: the products and the softmax that it consists of."""

from __future__ import annotations

import numpy as np

from latprof.compress.trace._tracer import Tracer, rule
from latprof.compress.trace._values import Call, Value
from latprof.compress.trace.ops._products import product
from latprof.workloads import MatMul

__all__ = ["flex_attention"]


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
    tracer.emit_softmax(call, scores, -1)
    return product(tracer, call, scores, v)


def flex_attention(tracer: Tracer, call: Call) -> None:
    """Count the op as if every key were scored; its arguments, query, key and value first, go by
    their numbers."""
    q, k, v = (call[i] for i in "012")
    heads = int(np.prod(q.shape[:-2]))
    m, d, keys = q.shape[-2], q.shape[-1], k.shape[-2]
    for work in (
        MatMul(m=m, k=d, n=keys, batch=heads, weights=False),
        MatMul(m=m, k=keys, n=v.shape[-1], batch=heads, weights=False),
    ):
        whole = np.zeros(heads, np.int64)
        tracer.emit(call, work, whole, whole)


def _repeat_heads(tracer: Tracer, x: Value, heads: int) -> Value:
    labels = tracer.of(x)
    if labels.shape[-3] > 1:
        labels = np.repeat(labels, heads // x.shape[-3], axis=-3)
    return Value((*x.shape[:-3], heads, *x.shape[-2:]), labels)
