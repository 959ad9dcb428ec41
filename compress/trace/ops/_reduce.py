"""Reductions, softmax, sorting, pooling and resizing: ops that mix along some dims."""

from __future__ import annotations

import math

import numpy as np

from latprof.compress.trace._labels import LabelArray
from latprof.compress.trace._tracer import Tracer, rule, tensors_in
from latprof.compress.trace._values import Call, Value

__all__: list[str] = []


@rule(
    "sum", "mean", "amax", "amin", "aminmax", "max", "min", "var", "std", "var_mean", "std_mean",
    "norm", "linalg_vector_norm", "logsumexp", "prod", "any", "all", "argmax", "argmin", "median",
    "count_nonzero", "nansum", "nanmean",
)  # fmt: skip
def _reduce(tracer: Tracer, call: Call) -> Value | list[Value]:
    values = tensors_in(call.args.values())
    x = values[0]
    if len(values) == 2:  # maximum of two tensors
        return tracer.value(call, tracer.meet(call, values))
    dims = _dims(call, x.ndim)
    labels = tracer.labels.tie(tracer.of(x), dims, f"{call.where} mixes them")
    if len(dims) == 2 and call.name == "mean" and x.ndim == 4 and dims == [2, 3]:
        made = _shrunk(tracer, call, labels, dims, 0)
        tracer.emit_pool(call, "global_avg", x, 1, 1, made)
        return made
    if call.name == "mean" and dims == [x.ndim - 1] and x.ndim > 1 and x.floating:
        tracer.emit_map(call, "mean", x, axis=x.ndim - 1)
    else:
        tracer.emit_unmeasured(call)
    outputs = [_shrunk(tracer, call, labels, dims, i) for i in range(len(call.shapes))]
    return outputs if len(outputs) > 1 else outputs[0]


@rule("softmax", "_softmax", "log_softmax", "_log_softmax", "cumsum", "cumprod", "logcumsumexp")
def _softmax(tracer: Tracer, call: Call) -> Value:
    x = call["self"]
    axis = call["dim"] % max(x.ndim, 1)
    dims = [axis] if x.ndim else []
    made = tracer.value(call, tracer.labels.tie(tracer.of(x), dims, f"{call.where} over it"))
    if "softmax" in call.name:
        tracer.emit_softmax(call, made, axis)
    else:
        tracer.emit_map(call, None, made)
    return made


@rule("sort", "argsort", "topk")
def _sort(tracer: Tracer, call: Call) -> Value | list[Value]:
    x = call["self"]
    labels = tracer.labels.tie(
        tracer.of(x), [call.get("dim", -1) % x.ndim], f"{call.where} over it"
    )
    tracer.emit_unmeasured(call)
    outputs = [tracer.value(call, labels, i) for i in range(len(call.shapes))]
    return outputs if len(outputs) > 1 else outputs[0]


@rule(
    "max_pool1d", "max_pool2d", "max_pool3d", "avg_pool1d", "avg_pool2d", "avg_pool3d",
    "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d", "adaptive_max_pool1d",
    "adaptive_max_pool2d", "max_pool2d_with_indices", "_adaptive_avg_pool2d", "mkldnn_max_pool2d",
)  # fmt: skip
def _pool(tracer: Tracer, call: Call) -> Value | list[Value]:
    x = next(iter(tensors_in(call.args.values())))
    spatial = int(call.name.split("pool")[1][0])
    dims = list(range(x.ndim - spatial, x.ndim))
    labels = tracer.labels.tie(tracer.of(x), dims, f"{call.where} over it")
    outputs = [tracer.value(call, labels, i) for i in range(len(call.shapes))]
    made = outputs[0]
    everywhere = math.prod(made.shape[-spatial:]) == 1
    if "avg" in call.name and everywhere:
        tracer.emit_pool(call, "global_avg", x, 1, 1, made)
    elif spatial == 2 and not call.name.lstrip("_").startswith("adaptive"):
        kernel = _square(call["kernel_size"])
        stride = _square(call.get("stride")) or kernel
        if kernel is not None and stride is not None:
            tracer.emit_pool(call, "avg" if "avg" in call.name else "max", x, kernel, stride, made)
        else:
            tracer.emit_unmeasured(call)
    elif "adaptive" in call.name and x.shape[-spatial:] == made.shape[-spatial:]:
        pass  # the identity
    else:
        tracer.emit_unmeasured(call)
    return outputs if len(outputs) > 1 else made


@rule(
    "upsample_nearest1d", "upsample_nearest2d", "upsample_nearest3d", "upsample_linear1d",
    "upsample_bilinear2d", "upsample_bicubic2d", "_upsample_nearest_exact2d",
    "upsample_trilinear3d", "_upsample_bilinear2d_aa", "_upsample_bicubic2d_aa",
)  # fmt: skip
def _upsample(tracer: Tracer, call: Call) -> Value:
    x = next(iter(tensors_in(call.args.values())))
    made = tracer.value(
        call, tracer.labels.tie(tracer.of(x), range(2, x.ndim), f"{call.where} over it")
    )
    tracer.emit_unmeasured(call)
    return made


def _dims(call: Call, ndim: int) -> list[int]:
    dims = call.args.get("dim")
    if dims is None or dims == []:
        return list(range(ndim))
    return sorted(d % ndim for d in ([dims] if isinstance(dims, int) else dims)) if ndim else []


def _shrunk(tracer: Tracer, call: Call, labels: LabelArray, dims: list[int], index: int) -> Value:
    """The output with ``dims`` of size 1, or gone."""
    if len(call.shapes[index]) == labels.ndim:
        return tracer.value(call, labels, index)
    return tracer.value(call, np.squeeze(labels, axis=tuple(dims)), index)


def _square(size: int | list[int] | None) -> int | None:
    if not size and size != 0:
        return None
    sizes = [size] if isinstance(size, int) else list(size)
    return sizes[0] if len(set(sizes)) == 1 else None
