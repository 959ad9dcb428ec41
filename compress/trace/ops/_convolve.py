"""Convolutions: dense ones read and write channels, depthwise and grouped ones carry them."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from latprof.compress.trace._labels import LabelArray
from latprof.compress.trace._tracer import Tracer, rule, unknown
from latprof.compress.trace._values import Call, Value
from latprof.compress.trace.ops._contract import add_bias, computed_channels
from latprof.workloads import MatMul, conv_transpose_workload, conv_workload

__all__: list[str] = []


@rule("conv1d", "conv2d", "conv3d", "convolution")
def _conv(tracer: Tracer, call: Call) -> Value | list[Value]:
    if call.get("transposed"):
        return _conv_transpose(tracer, call)
    x, weight, bias = call["input"], call["weight"], call.get("bias")
    if not weight.fixed:  # kernels made from the input
        return unknown(tracer, call)
    axis = x.ndim - weight.ndim + 1  # 0 where there is no batch dim
    groups, c_out, c_in = call.get("groups", 1), weight.shape[0], x.shape[axis]
    reads = tracer.column(x, axis, call.where)
    if not _is_whole(weight):
        writes = _computed(tracer, call, groups, 0)
    elif groups == 1:
        tracer.follow(weight.param, 1, reads, reads=True)
        writes = tracer.write(weight.param, 0)
    else:
        writes = _carry(tracer, call, weight.param, reads, groups, c_out)
    made = tracer.value(call, _along(writes, axis, x.ndim))
    made = add_bias(tracer, call, made, bias, writes, axis)
    lead = () if axis else (1,)
    stride, dilation = _all(call.get("stride", 1)), _all(call.get("dilation", 1))
    workload = conv_workload(
        (*lead, *x.shape), (*lead, *made.shape), weight.shape, groups, stride, dilation
    )
    if groups > 1 and isinstance(workload, MatMul):  # one product per group
        each = writes.reshape(groups, -1)[:, 0]
        tracer.emit(call, workload, each, each)
    elif groups == c_in == c_out:
        tracer.emit(call, workload, writes, writes)
    else:
        taps = math.prod(weight.shape[2:]) if isinstance(workload, MatMul) else 1
        tracer.emit(call, workload, np.repeat(reads, taps), writes)
    return made


def _is_whole(weight: Value) -> bool:
    """Whether the weight is a parameter as it is."""
    whole = weight.perm == tuple(range(weight.ndim)) and not weight.window
    return weight.param is not None and whole


def _computed(tracer: Tracer, call: Call, groups: int, out_dim: int) -> LabelArray:
    """(c_out,) labels of the channels of a weight that the forward computes."""
    weight = call["weight"]
    writes = computed_channels(tracer, call, call["input"], weight, out_dim)
    if groups > 1:
        reason = f"{call.where} has {groups} groups of channels that mix"
        tracer.labels.pin(writes, reason)
        writes = np.tile(writes, groups if out_dim else 1)
    return writes


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
    if not weight.fixed:
        return unknown(tracer, call)
    axis = x.ndim - weight.ndim + 1
    reads = tracer.column(x, axis, call.where)
    each = np.zeros(groups, np.int64)
    if not _is_whole(weight):
        writes = _computed(tracer, call, groups, 1)
    elif groups == 1:
        tracer.follow(weight.param, 0, reads, reads=True)
        writes = tracer.write(weight.param, 1)
    else:
        reason = f"{call.where} has {groups} groups of channels that mix"
        tied = tracer.labels.tie(reads.reshape(groups, -1), [1], reason)
        each = np.broadcast_to(tied, (groups, 1)).ravel()
        tracer.follow(weight.param, 0, np.repeat(each, weight.shape[0] // groups))
        tracer.grouped[weight.param] = weight.shape[0] // groups
        writes = np.repeat(each, weight.shape[1])
    made = tracer.value(call, _along(writes, axis, x.ndim))
    made = add_bias(tracer, call, made, bias, writes, axis)
    taps = math.prod(weight.shape[2:])
    whole = conv_transpose_workload(x.shape if axis else (1, *x.shape), weight.shape)
    if groups == 1:
        tracer.emit(call, whole, reads, np.repeat(writes, taps))
    else:  # one product per group
        work = dataclasses.replace(whole, k=whole.k // groups, batch=groups, weights=False)
        tracer.emit(call, work, each, each)
    return made


def _along(channels: LabelArray, axis: int, ndim: int) -> LabelArray:
    return channels.reshape([-1 if d == axis else 1 for d in range(ndim)])


def _all(value: int | list[int]) -> list[int]:
    return [value] if isinstance(value, int) else list(value)
