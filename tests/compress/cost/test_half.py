"""Figures of models in half precision are those of their own types."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from latprof.compress import Compressor, trace


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_workloads_and_bytes_have_the_models_type(dtype: torch.dtype) -> None:
    layers = nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 64)
    model, x = nn.Sequential(*layers).to(dtype), torch.randn(1, 64, dtype=dtype)
    graph = trace(model, x)
    assert {f"torch.{w.dtype}" for w in graph.workloads()} == {str(dtype)}
    elements = 64 + 3 * 256 + 256 + 64  # in and out of each of the three
    assert graph.stats().activation_bytes == elements * x.element_size()
    whole = sum(p.numel() * p.element_size() for p in model.parameters())
    comp = Compressor(model, x, None, "bytes=50%", steps=2)
    assert round(comp.cost_model.feasible_range().original) == whole


def test_layers_of_two_types_are_told_apart() -> None:
    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(8, 16).bfloat16(), nn.Linear(16, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.b(torch.relu(self.a(x.bfloat16())).float())

    model, x = Mixed(), torch.randn(2, 8)
    assert [w.dtype for w in trace(model, x).workloads()] == ["bfloat16", "bfloat16", "float32"]
    whole = sum(p.numel() * p.element_size() for p in model.parameters())
    comp = Compressor(model, x, None, "bytes=50%", steps=2)
    assert round(comp.cost_model.feasible_range().original) == whole
