"""Linear layers, and a table in which weights of few bits pay at one row and at no more."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from latprof.surrogate import Surrogate, fit
from latprof.tables import LatencyTable, plan
from latprof.vocabulary import Measurement, Target
from latprof.workloads import Elementwise, MatMul, Workload

__all__ = ["Tokens", "few_bits_surrogate", "few_bits_table", "mlp", "reloading_surrogate"]

FEATURES, HIDDEN = 64, 128


def mlp() -> Any:
    """A MODEL of two linear layers over one row."""
    torch.manual_seed(0)
    layers = [nn.Linear(FEATURES, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 10)]
    return nn.Sequential(*layers), (torch.randn(1, FEATURES),)


class Tokens(nn.Module):
    """A layer over many rows, then two over one."""

    def __init__(self) -> None:
        super().__init__()
        self.many = nn.Linear(FEATURES, FEATURES)
        self.hidden = nn.Linear(FEATURES, HIDDEN)
        self.head = nn.Linear(HIDDEN, 4)

    def forward(self, x: Tensor) -> Tensor:
        pooled = torch.relu(self.many(x)).mean(1)
        return self.head(torch.relu(self.hidden(pooled)))


def seconds_of(w: Workload) -> float:
    """1 us, and what its weights and its arithmetic take; of few bits more arithmetic."""
    if not isinstance(w, MatMul):
        return 1e-6
    arithmetic = 2e-11 * w.macs * (2 if w.weight_bits else 1)
    return 1e-6 + 5e-10 * w.weight_bytes + arithmetic * (w.m * w.batch - 1) * 4


def few_bits_table(bits: tuple[int, ...] = (4, 8)) -> LatencyTable:
    """Of Tokens and of mlp."""
    ops = [MatMul(rows, FEATURES, FEATURES) for rows in (1, 8)]
    ops += [MatMul(1, HIDDEN, HIDDEN), Elementwise("relu", 1, 1, HIDDEN)]
    shapes = plan(ops, n_shapes=120)
    products = [w for w in shapes if isinstance(w, MatMul)]
    shapes += [w.with_weight_bits(b) for b in bits for w in products]
    rows = tuple(
        Measurement(workload=w, samples_s=((seconds_of(w),) * 2,) * 3)
        for w in dict.fromkeys(shapes)
    )
    target = Target("bench", "onnxruntime", "1.32.0", delegate="CPUExecutionProvider")
    return LatencyTable(target, rows)


@cache
def few_bits_surrogate(bits: tuple[int, ...] = (4, 8)) -> Surrogate:
    return fit(few_bits_table(bits))


def reloading_surrogate() -> Surrogate:
    """The same of a device on which a model loads all its weights again: few bits, which pay at one
    row alone where an op is measured by itself, pay in every layer."""
    surrogate = few_bits_surrogate()
    reloads = replace(surrogate.composition, per_byte_s=(1e-8, 0.0), cache_bytes=None)
    return replace(surrogate, composition=reloads)
