"""Tables whose truth is known: a law with stairs, and measurements of it."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from latprof.tables import LatencyTable, ModelMeasurement, plan
from latprof.vocabulary._measurement import Measurement
from latprof.vocabulary._target import Target
from latprof.workloads import Conv2d, Elementwise, MatMul, Pool, Workload

TARGET = Target("test CPU", "fake", "1.0", settings=(("graph", "all"),))

#: A small network's ops: two axes, one axis, kernels, strides and groups.
OPS: list[Workload] = [
    Conv2d(14, 14, 96, 160),
    Conv2d(28, 28, 64, 96),
    Conv2d(14, 14, 64, 64, kernel=3, stride=2),
    Conv2d(14, 14, 96, 96, kernel=3, groups=96),
    MatMul(1, 160, 320),
    MatMul(64, 64, 64, batch=8, weights=False),
    Elementwise("relu", 14, 14, 160),
    Pool("global_avg", 7, 7, 160),
]


def truth_s(workload: Workload, step: int = 16) -> float:
    """Seconds: a call, arithmetic in tiles of ``step`` output channels, and traffic."""
    c_out = workload.channels[1]
    tiles = np.ceil(c_out / step) * step / c_out
    traffic = workload.weight_bytes + workload.activation_bytes
    return float(1.5e-6 + 1e-11 * workload.macs * tiles + 4e-11 * traffic)


def measured(workload: Workload, noise: float = 0.0, step: int = 16) -> Measurement:
    """Three rounds of two samples; the noise of a shape is always the same."""
    rng = np.random.default_rng(zlib.crc32(repr(workload).encode()))
    seconds = truth_s(workload, step) * np.exp(noise * rng.standard_normal())
    rounds = tuple((float(seconds * r), float(seconds * r * 1.01)) for r in (1.0, 0.999, 1.001))
    return Measurement(workload=workload, samples_s=rounds, measured_at="2024-05-01T12:00:00+00:00")


def table_of(workloads: Iterable[Workload], noise: float = 0.0, step: int = 16) -> LatencyTable:
    return LatencyTable(TARGET, tuple(measured(w, noise, step) for w in dict.fromkeys(workloads)))


def planned(method: str = "spread", n_shapes: int = 160, noise: float = 0.01) -> LatencyTable:
    """OPS measured by a plan."""
    return table_of(plan(OPS, method=method, n_shapes=n_shapes), noise)


def whole(name: str, workloads: Sequence[Workload], factor: float = 1.1) -> ModelMeasurement:
    """A model in which ops take ``factor`` of what they take alone, ReLU nothing, a call 5 us."""
    seconds = 5e-6 + sum(factor * truth_s(w) for w in workloads if w.label != "elementwise.relu")
    return ModelMeasurement(name=name, workloads=tuple(workloads), samples_s=((seconds,),))


def variants(n: int, factor: float = 1.1) -> list[ModelMeasurement]:
    """OPS at random widths, measured whole."""
    rng = np.random.default_rng(0)
    models = []
    for number in range(n):
        ops = []
        for w in OPS:
            c_in, c_out = (int(rng.integers(max(c // 4, 2), c + 1)) for c in w.channels)
            ops.append(w.with_channels(c_out if w.tied else c_in, c_out))
        models.append(whole(f"variant#{number}", ops, factor))
    return models


def net() -> Any:
    """A MODEL for the command line: three convolutions, the middle one depthwise."""
    import torch
    from torch import nn

    convs = [nn.Conv2d(3, 32, 3, 2, 1), nn.Conv2d(32, 32, 3, 1, 1, groups=32), nn.Conv2d(32, 64, 1)]
    return nn.Sequential(*convs), (torch.randn(1, 3, 32, 32),)
