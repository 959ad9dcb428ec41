"""Normalizations: batch norm keeps channels apart, the others tie what they average over."""

from __future__ import annotations

import numpy as np

from latprof.compress.trace._tracer import Tracer, rule
from latprof.compress.trace._values import Call, Value
from latprof.compress.trace.ops._contract import add_bias

__all__: list[str] = []

#: A batch norm behind one of these is folded into its weights.
_FOLDS = ("conv1d", "conv2d", "conv3d", "convolution", "conv_transpose2d", "linear")


@rule("_native_batch_norm_legit_no_training", "batch_norm", "native_batch_norm", "cudnn_batch_norm")
def _batch_norm(tracer: Tracer, call: Call) -> Value | list[Value]:
    x = call["input"]
    made = _per_channel(tracer, call)
    if x.source not in _FOLDS or x.users > 1:
        tracer.emit_map(call, "scale", made)  # nothing to fold it into
    rest = [Value(s, np.zeros((1,) * len(s), np.int64)) for s in call.shapes[1:]]
    return [made, *rest] if rest else made


@rule("layer_norm", "native_layer_norm", "rms_norm", "_fused_rms_norm")
def _layer_norm(tracer: Tracer, call: Call) -> Value | list[Value]:
    x = call["input"]
    count = len(call["normalized_shape"])
    dims = list(range(x.ndim - count, x.ndim))
    labels = tracer.labels.tie(tracer.of(x), dims, f"{call.where} normalizes over all of them")
    made = tracer.value(call, labels)
    tracer.emit_map(call, "layer_norm", made, axis=x.ndim - 1)
    rest = [tracer.value(call, labels, i) for i in range(1, len(call.shapes))]
    return [made, *rest] if rest else made


@rule("group_norm", "native_group_norm")
def _group_norm(tracer: Tracer, call: Call) -> Value | list[Value]:
    x, groups = call["input"], call.get("num_groups", call.get("group"))
    channels = tracer.column(x, 1, call.where)
    each = tracer.labels.tie(
        channels.reshape(groups, -1), [1], f"{call.where} normalizes over all of them"
    )
    channels = np.repeat(np.broadcast_to(each, (groups, 1)).ravel(), len(channels) // groups)
    made = tracer.value(call, channels.reshape(1, -1, *[1] * (x.ndim - 2)))
    for key in ("weight", "bias"):
        if (v := call.get(key)) is not None and v.param is not None:
            tracer.grouped[v.param] = len(channels) // groups
        made = add_bias(tracer, call, made, v, channels, 1)
    tracer.emit_map(call, "layer_norm", made, axis=1)
    rest = [
        tracer.value(call, np.zeros((1,) * len(s), np.int64), i + 1)
        for i, s in enumerate(call.shapes[1:])
    ]
    return [made, *rest] if rest else made


@rule("instance_norm")
def _instance_norm(tracer: Tracer, call: Call) -> Value:
    made = _per_channel(tracer, call)
    tracer.emit_map(call, "layer_norm", made, axis=1)
    return made


def _per_channel(tracer: Tracer, call: Call) -> Value:
    """Scales, offsets and statistics lie along dim 1, and each channel has its own."""
    x = call["input"]
    channels = tracer.column(x, 1, call.where)
    made = tracer.value(call, tracer.of(x))
    for key in ("weight", "bias", "running_mean", "running_var"):
        made = add_bias(tracer, call, made, call.get(key), channels, 1)
    return made


@rule("_weight_norm", "_weight_norm_interface")
def _weight_norm(tracer: Tracer, call: Call) -> Value | list[Value]:
    """v, each of its slices along ``dim`` brought to the length g."""
    v, g, dim = call["v"], call["g"], call.get("dim", 0) % call["v"].ndim
    others = [d for d in range(v.ndim) if d != dim]
    labels = tracer.labels.tie(tracer.of(v), others, f"{call.where} normalizes over them")
    made = tracer.value(call, tracer.meet(call, [Value(v.shape, labels, v.floating), g]))
    rest = [Value(s, np.zeros((1,) * len(s), np.int64)) for s in call.shapes[1:]]
    return [made, *rest] if rest else made
