"""Quick surrogates and small tasks that masks are trained on."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from latprof import LatencyTable
from latprof.compress import Compressor, trace
from latprof.devices import profile
from latprof.devices._fake import FakeDevice
from latprof.surrogate import Surrogate, fit
from latprof.tables import plan

__all__ = ["EXAMPLE", "Plain", "fake_surrogate", "plain_compressor", "task"]

EXAMPLE = (torch.zeros(1, 16),)


class Plain(nn.Module):
    """(B, 16) to (B, 4), without batch norm: half batches add up to whole ones."""

    def __init__(self, seed: int = 0) -> None:
        torch.manual_seed(seed)
        super().__init__()
        self.first, self.second = nn.Linear(16, 48), nn.Linear(48, 64)
        self.head = nn.Linear(64, 4)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.head(torch.relu(self.second(torch.relu(self.first(x.flatten(1))))))
        return found


def fake_surrogate(model: nn.Module, inputs: Any, n_shapes: int = 80) -> Surrogate:
    """Of a device that is pure arithmetic, with steps of 8 channels."""
    workloads = trace(model, inputs).workloads()
    with FakeDevice(seed=3, stair=8) as device:
        rows = tuple(profile(device, plan(workloads, n_shapes=n_shapes)))
        return fit(LatencyTable(device.target, rows))


@cache
def _of_plain() -> Surrogate:
    return fake_surrogate(Plain(), EXAMPLE)


def plain_compressor(steps: int = 60, **more: Any) -> Compressor:
    """A Plain under masks, to 70% of its latency."""
    return Compressor(Plain(), EXAMPLE, _of_plain(), "70%", steps=steps, **more)


def task(n: int = 512) -> tuple[Tensor, Tensor]:
    """Inputs (n, 16) and labels (n,) that a small network can learn."""
    dice = torch.Generator().manual_seed(7)
    x = torch.randn(n, 16, generator=dice)
    return x, (x @ torch.randn(16, 4, generator=dice)).argmax(1)
