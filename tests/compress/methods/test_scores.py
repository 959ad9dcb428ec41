"""What single weights count for in a projection."""

from __future__ import annotations

import torch
from support.training import EXAMPLE, Plain

from latprof import Compressor, Masks, Prune, Sparse
from latprof.compress.methods._scores import with_equal_totals

FACTOR = 1024.0  # of which no sum is rounded otherwise


def compressor(factor: float = 1.0) -> Compressor:
    """The same function, its weights moved from the second layer to the first."""
    model = Plain()
    with torch.no_grad():
        model.first.weight *= factor
        model.first.bias *= factor
        model.second.weight /= factor
    method = Masks(importance="magnitude")
    return Compressor(model, EXAMPLE, None, "params=20%", blocks=[Sparse()], method=method)


def test_the_scale_of_a_layer_does_not_matter() -> None:
    plain, scaled = compressor(), compressor(FACTOR)
    plain.fix()
    scaled.fix()
    assert plain.counts() == scaled.counts()
    shares = [n / size for n, size in zip(plain.counts(), plain.space.sizes, strict=True)]
    assert min(shares[len(plain.space.graph.groups) :]) > 0.05


def test_weights_are_evened_and_channels_are_not() -> None:
    blocks = [Prune(), Sparse()]
    space = Compressor(Plain(), EXAMPLE, None, "params=20%", blocks=blocks).space
    dice = torch.Generator().manual_seed(0)
    given = [10.0**g.index * torch.rand(g.size, generator=dice) for g in space.groups]
    found = with_equal_totals(given, space)
    sparse = {o.group.index for o in space.sparse}
    totals = [found[index].sum() for index in sparse]
    torch.testing.assert_close(totals, [sum(given[i].sum() for i in sparse) / len(sparse)] * 3)
    for index, (before, after) in enumerate(zip(given, found, strict=True)):
        if index in sparse:
            torch.testing.assert_close(after / after.sum(), before / before.sum())
        else:
            assert after is before
