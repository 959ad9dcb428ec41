"""Tensors in the place of parameters: as functional_call does it."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from latprof.compress.masks._swap import Swap


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)
        self.second.weight = self.first.weight
        self.head = nn.Sequential(nn.Linear(4, 3))

    def forward(self, x: Tensor, *, fail: bool = False) -> Tensor:
        if fail:
            raise ValueError("no")
        return self.head(self.second(self.first(x).relu()))


def test_it_computes_what_functional_call_does_and_leaves_the_model() -> None:
    model, x = Tied(), torch.randn(5, 4)
    before = dict(model.named_parameters())
    swap = Swap(model)
    assert swap.parameters(model) == before
    scale = torch.ones(4, requires_grad=True)
    changed = {name: before[name] * scale for name in ("first.weight", "head.0.weight")}
    got = swap(model, changed, (x,), {})
    same = functional_call(model, changed, (x,))
    assert torch.equal(got, same)
    leaves = [scale, before["first.weight"]]
    found = torch.autograd.grad(got.sum(), leaves, retain_graph=True)
    wanted = torch.autograd.grad(same.sum(), leaves)
    assert all(torch.equal(a, b) for a, b in zip(found, wanted, strict=True))
    with pytest.raises(ValueError, match="no"):
        swap(model, changed, (x,), {"fail": True})
    assert all(p is before[name] for name, p in model.named_parameters())
    assert model.second.weight is model.first.weight


def test_modules_that_were_replaced_are_found() -> None:
    model, x = Tied(), torch.randn(5, 4)
    swap = Swap(model)
    model.head[0] = copy.deepcopy(model.head[0])
    zero = {"head.0.weight": torch.zeros(3, 4)}
    assert torch.equal(swap(model, zero, (x,), {})[0], model.head[0].bias)
