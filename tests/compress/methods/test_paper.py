"""The method of Nasery et al.: what its masks reach in the steps that they have."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from latprof import Compressor, Masks, Prune
from latprof.compress.methods import paper

X = torch.zeros(1, 8)


def of_100_steps(method: Masks) -> Compressor:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 4))
    return Compressor(model, X, None, "macs=50%", blocks=[Prune()], method=method, steps=100)


def zeros_after_100_steps(method: Masks) -> int:
    """Masks at 0 under a penalty that outweighs the loss, before a budget takes any."""
    comp = of_100_steps(method)
    for _ in range(99):
        (1e-6 * comp(torch.randn(4, 8)).square().mean() + comp.penalty()).backward()
        comp.step()
    return sum(g.size for g in comp.graph.groups) - sum(comp.counts())


def of_rates(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.message for r in caplog.records if "masks begin at 1" in r.message]


def test_a_rate_at_which_no_mask_can_reach_0_is_named(caplog: pytest.LogCaptureFixture) -> None:
    assert zeros_after_100_steps(paper(10.0)) == 0
    (message,) = of_rates(caplog)
    assert "100 steps of lr 0.001 move them by 0.05 at most" in message
    assert "expected an lr of 0.1 or more" in message


def test_at_the_rate_that_it_names_masks_reach_0(caplog: pytest.LogCaptureFixture) -> None:
    assert zeros_after_100_steps(replace(paper(10.0, count="l1"), lr=0.1)) > 0
    assert not of_rates(caplog)
