"""Deep copies of models that carry what their forward left on them."""

from __future__ import annotations

import threading

import pytest
import torch
from torch import Tensor, nn

from latprof import Compressor
from latprof.compress.graph import copy_model
from latprof.errors import UsageError


class Keeps(nn.Module):
    """Keeps its activations, for a loss or a plot."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(8, 32), nn.Linear(32, 4)
        self.kept: dict[str, list[Tensor]] = {}

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.first(x))
        self.kept["all"] = [y, y]
        out: Tensor = self.second(y)
        return out


def test_activations_are_copied_without_their_history() -> None:
    model = Keeps()
    model(torch.randn(2, 8))
    copied = copy_model(model)
    first, second = copied.kept["all"]
    assert first is second
    assert first.is_leaf
    assert torch.equal(first, model.kept["all"][0])
    assert first is not model.kept["all"][0]
    assert not model.kept["all"][0].is_leaf


def test_a_network_that_keeps_its_activations_is_shrunk_after_training() -> None:
    comp = Compressor(Keeps(), torch.zeros(2, 8), None, "macs=50%", steps=4).train()
    for _ in range(5):
        (comp(torch.randn(4, 8)).square().mean() + comp.penalty()).backward()
        comp.step()
        comp.zero_grad()
    small = comp.shrink()
    assert sum(p.numel() for p in small.parameters()) < sum(
        p.numel() for p in comp.model.parameters()
    )


def test_what_cannot_be_copied_is_named() -> None:
    model = nn.Sequential(nn.Linear(2, 2), Keeps())
    model[1].lock = threading.Lock()
    with pytest.raises(UsageError, match=r"Sequential: 1\.lock cannot be copied .*lock"):
        copy_model(model)
