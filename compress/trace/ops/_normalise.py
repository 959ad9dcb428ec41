"""Normalisations: batch norm keeps channels apart, the others tie what they average over."""

from __future__ import annotations

import numpy as np

from latprof.compress.trace._tracer import Tracer, rule, unknown
from latprof.compress.trace._values import Call, Value

__all__: list[str] = []

#: A batch norm behind one of these is folded into its weights.
_FOLDS = ("conv1d", "conv2d", "conv3d", "convolution", "conv_transpose2d", "linear")


@rule("_native_batch_norm_legit_no_training", "batch_norm", "native_batch_norm", "cudnn_batch_norm")
def _batch_norm(tracer: Tracer, call: Call) -> Value | list[Value]:
    x = call["input"]
    affine = [call.get(k) for k in ("weight", "bias", "running_mean", "running_var")]
    if any(v is not None and v.param is None for v in affine) or call.get("training") is True:
        return unknown(tracer, call)
    channels = tracer.column(x, 1, call.where)
    for v in affine:
        if v is not None:
            tracer.follow(v.param, 0, channels)
    made = tracer.value(call, tracer.of(x))
    if x.source not in _FOLDS or x.users > 1:
        tracer.emit_map(call, "scale", made)  # nothing to fold it into
    rest = [Value(s, np.zeros((1,) * len(s), np.int64)) for s in call.shapes[1:]]
    return [made, *rest] if rest else made


@rule("layer_norm", "native_layer_norm", "rms_norm", "_fused_rms_norm")
def _layer_norm(tracer: Tracer, call: Call) -> Value | list[Value]:
    x = call["input"]
    count = len(call["normalized_shape"])
    dims = list(range(x.ndim - count, x.ndim))
    labels = tracer.labels.tie(tracer.of(x), dims, f"{call.where} normalises over all of them")
    made = tracer.value(call, labels)
    tracer.emit_map(call, "layer_norm", made, axis=x.ndim - 1)
    rest = [tracer.value(call, labels, i) for i in range(1, len(call.shapes))]
    return [made, *rest] if rest else made


@rule("group_norm", "native_group_norm")
def _group_norm(tracer: Tracer, call: Call) -> Value | list[Value]:
    x, groups = call["input"], call.get("num_groups", call.get("group"))
    channels = tracer.column(x, 1, call.where)
    each = tracer.labels.tie(
        channels.reshape(groups, -1), [1], f"{call.where} normalises over all of them"
    )
    channels = np.repeat(np.broadcast_to(each, (groups, 1)).ravel(), len(channels) // groups)
    for key in ("weight", "bias"):
        v = call.get(key)
        if v is not None and v.param is None:
            return unknown(tracer, call)
        if v is not None:
            tracer.follow(v.param, 0, channels)
            tracer.grouped[v.param] = len(channels) // groups
    made = tracer.value(call, channels.reshape(1, -1, *[1] * (x.ndim - 2)))
    tracer.emit_map(call, "layer_norm", made, axis=1)
    rest = [
        tracer.value(call, np.zeros((1,) * len(s), np.int64), i + 1)
        for i, s in enumerate(call.shapes[1:])
    ]
    return [made, *rest] if rest else made


@rule("instance_norm")
def _instance_norm(tracer: Tracer, call: Call) -> Value | list[Value]:
    x = call["input"]
    affine = [call.get(k) for k in ("weight", "bias", "running_mean", "running_var")]
    if any(v is not None and v.param is None for v in affine):
        return unknown(tracer, call)
    channels = tracer.column(x, 1, call.where)
    for v in affine:
        if v is not None:
            tracer.follow(v.param, 0, channels)
    made = tracer.value(call, tracer.of(x))
    tracer.emit_map(call, "layer_norm", made, axis=1)
    return made
