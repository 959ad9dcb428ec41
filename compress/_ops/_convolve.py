"""Convolutions: dense ones read and write channels, depthwise and grouped ones carry them."""

from __future__ import annotations

import math

import numpy as np

from latprof._workload import Conv2d, MatMul, Workload
from latprof.compress._labels import LabelArray
from latprof.compress._tracer import Tracer, rule, unknown
from latprof.compress._values import Call, Value

__all__: list[str] = []


@rule("conv1d", "conv2d", "conv3d", "convolution")
def _conv(tracer: Tracer, call: Call) -> Value | list[Value]:
    if call.get("transposed"):
        return _conv_transpose(tracer, call)
    x, weight, bias = call["input"], call["weight"], call.get("bias")
    if weight.param is None or weight.perm != tuple(range(weight.ndim)):
        return unknown(tracer, call)
    if bias is not None and bias.param is None:
        return unknown(tracer, call)
    axis = x.ndim - weight.ndim + 1  # 0 where there is no batch dim
    groups, c_out, c_in = call.get("groups", 1), weight.shape[0], x.shape[axis]
    reads = tracer.column(x, axis, call.where)
    if groups == 1:
        tracer.follow(weight.param, 1, reads, reads=True)
        writes = tracer.write(weight.param, 0)
    else:
        writes = _carry(tracer, call, weight.param, reads, groups, c_out)
    if bias is not None:
        tracer.follow(bias.param, 0, writes)
    made = tracer.value(call, _along(writes, axis, x.ndim))
    workload = _workload(x.shape, made.shape, weight.shape, axis, groups, _pairs(call))
    depthwise = groups > 1 and groups == c_in == c_out
    batched = isinstance(workload, MatMul) and not workload.weights
    group_of = writes.reshape(groups, -1)[:, 0]
    tracer.emit(
        call, workload, *((group_of,) * 2 if batched else (writes if depthwise else reads, writes))
    )
    return made


def _carry(
    tracer: Tracer, call: Call, weight: str, reads: LabelArray, groups: int, c_out: int
) -> LabelArray:
    """A group of a grouped convolution stays or goes as a whole: (c_out,) labels."""
    reason = f"{call.where} has {groups} groups of channels that mix"
    each = np.broadcast_to(tracer.labels.tie(reads.reshape(groups, -1), [1], reason), (groups, 1))
    writes = np.repeat(each.ravel(), c_out // groups)
    tracer.follow(weight, 0, writes)
    tracer.grouped[weight] = c_out // groups
    return writes


@rule("conv_transpose1d", "conv_transpose2d", "conv_transpose3d")
def _conv_transpose(tracer: Tracer, call: Call) -> Value | list[Value]:
    x, weight, bias = call["input"], call["weight"], call.get("bias")
    groups = call.get("groups", 1)
    if weight.param is None or (bias is not None and bias.param is None):
        return unknown(tracer, call)
    axis = x.ndim - weight.ndim + 1
    reads = tracer.column(x, axis, call.where)
    if groups == 1:
        tracer.follow(weight.param, 0, reads, reads=True)
        writes = tracer.write(weight.param, 1)
    else:
        reason = f"{call.where} has {groups} groups of channels that mix"
        tied = tracer.labels.tie(reads.reshape(groups, -1), [1], reason)
        each = np.broadcast_to(tied, (groups, 1)).ravel()
        tracer.follow(weight.param, 0, np.repeat(each, weight.shape[0] // groups))
        tracer.grouped[weight.param] = weight.shape[0] // groups
        writes = np.repeat(each, weight.shape[1])
    if bias is not None:
        tracer.follow(bias.param, 0, writes)
    made = tracer.value(call, _along(writes, axis, x.ndim))
    taps = math.prod(weight.shape[2:])
    if groups == 1:
        m = math.prod(x.shape[axis + 1 :])
        batch = x.shape[0] if axis else 1
        work = MatMul(m=m * batch, k=weight.shape[0], n=weight.shape[1] * taps)
        tracer.emit(call, work, reads, np.repeat(writes, taps))
    else:
        tracer.emit_unmeasured(call)
    return made


def _along(channels: LabelArray, axis: int, ndim: int) -> LabelArray:
    return channels.reshape([-1 if d == axis else 1 for d in range(ndim)])


def _pairs(call: Call) -> tuple[list[int], list[int]]:
    stride, dilation = call.get("stride", [1]), call.get("dilation", [1])
    as_list = lambda v: [v] if isinstance(v, int) else list(v)  # noqa: E731
    return as_list(stride), as_list(dilation)


def _workload(
    shape: tuple[int, ...],
    made: tuple[int, ...],
    weight: tuple[int, ...],
    axis: int,
    groups: int,
    steps: tuple[list[int], list[int]],
) -> Workload:
    """Square 2-D kernels as Conv2d, others as the matrix product that computes them.

    ``Conv2d`` pads every side by ``dilation * (kernel - 1) // 2``; where the model pads
    otherwise, the input is taken of the size that gives the model's output.
    """
    stride, dilation = ({*s} for s in steps)
    batch = shape[0] if axis else 1
    kernel, pixels = weight[2:], math.prod(made[axis + 1 :])
    c_in, c_out = shape[axis], weight[0]
    if len(kernel) == 2 and len(set(kernel)) == len(stride) == len(dilation) == 1:
        (s,), (d,), k = stride, dilation, kernel[0]
        reach = d * (k - 1) - 2 * (d * (k - 1) // 2)
        sizes = [
            n if (n - 1 - reach) // s + 1 == out else (out - 1) * s + 1 + reach
            for n, out in zip(shape[axis + 1 :], made[axis + 1 :], strict=True)
        ]
        return Conv2d(
            h=sizes[0], w=sizes[1], c_in=c_in, c_out=c_out, kernel=k, stride=s, groups=groups,
            dilation=d, batch=batch,
        )  # fmt: skip
    taps = math.prod(kernel)
    if groups == 1:
        return MatMul(m=pixels * batch, k=c_in * taps, n=c_out)
    return MatMul(
        m=pixels * batch, k=c_in // groups * taps, n=c_out // groups, batch=groups, weights=False
    )
