"""The workload of an elementwise op or a softmax, from where the channels of its output lie."""

from __future__ import annotations

import math

import numpy as np

from latprof.compress.trace._labels import LabelArray, Labels, varying
from latprof.compress.trace._values import Value
from latprof.workloads import Elementwise, Workload, softmax_workload

__all__ = ["map_workload", "softmax_of_labels"]


def map_workload(
    labels: Labels, kind: str, made: Value, axis: int | None
) -> tuple[Workload, LabelArray, LabelArray]:
    """An elementwise op, whose channels lie along the dim that varies, else along ``axis``."""
    found, shape = labels.compress(made.labels), made.shape
    if len(dims := varying(found)) == 1:
        axis = dims[0]
    elif axis is None:
        axis = {0: 0, 1: 0, 2: 1, 4: 1, 5: 1}.get(len(shape), len(shape) - 1)
    channels = np.zeros(shape[axis], np.int64) if len(dims) > 1 else found.reshape(-1)
    channels = np.broadcast_to(channels, (shape[axis],))
    batch = shape[0] if axis and len(shape) > 1 else 1
    rest = [n for d, n in enumerate(shape) if d != axis and (d or not axis)]
    w = rest[-1] if len(rest) > 1 else 1
    h = math.prod(rest[:-1]) if len(rest) > 1 else math.prod(rest)
    return Elementwise(kind, h=h, w=w, c=shape[axis], batch=batch), channels, channels


def softmax_of_labels(
    labels: Labels, made: Value, axis: int
) -> tuple[Workload, LabelArray, LabelArray]:
    """A softmax over ``axis``, whose channels lie along the one other dim that varies."""
    found = labels.compress(made.labels)
    dims = varying(found)
    if len(dims) == 1 and dims[0] != axis:
        work = softmax_workload(made.shape, axis, dims[0])
        channels = found.reshape(-1)
    else:
        work = softmax_workload(made.shape, axis)
        channels = found.reshape(-1) if found.size == 1 else np.zeros(1, np.int64)
    channels = np.broadcast_to(channels, (work.c,))
    return work, channels, channels
