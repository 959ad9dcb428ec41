"""Which of several ways to save bytes a projection takes."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from latprof import Compressor, Quantize, Sparse


@pytest.mark.parametrize("bits", [(4, 8), (2, 4, 8)])
def test_zeros_leave_layers_whose_weights_have_few_bits_already(bits: tuple[int, ...]) -> None:
    """A bitmap takes a bit of each weight, so that the first zeros among few bits save nothing."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 256))
    nn.init.normal_(model[0].weight, std=1 / 16)
    nn.init.normal_(model[2].weight, std=1 / 16)
    example = torch.zeros(1, 256)
    blocks = [Sparse(), Quantize(bits=bits)]
    comp = Compressor(model, example, None, "bytes=9%", blocks=blocks, steps=40)
    for _ in range(40):
        comp(torch.randn(8, 256)).square().mean().backward()
        comp.step()
    small = comp.shrink()
    for layer in (small[0], small[2]):
        assert 0.1 < (layer.weight != 0).float().mean() < 0.5
        assert len(layer.weight.unique()) > 4, "two bits"
    assert comp.budget_ratio() <= 1
