"""Activation checkpointing under masks: the same gradients as without it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from latprof import Compressor
from latprof.compress import Depth, LowRank, Prune
from latprof.compress.space import Block

EXAMPLE = torch.zeros(2, 8)


class Branch(nn.Module):
    """A residual block whose inside is checkpointed once more, where it is nested."""

    def __init__(self) -> None:
        super().__init__()
        self.enter, self.leave = nn.Linear(32, 48), nn.Linear(48, 32)
        self.nested: bool | None = None

    def forward(self, x: Tensor) -> Tensor:
        if self.nested is None or not self.training:
            inner = self._inner(x)
        else:
            inner = checkpoint(self._inner, x, use_reentrant=self.nested)
        out: Tensor = x + inner
        return out

    def _inner(self, x: Tensor) -> Tensor:
        out: Tensor = self.leave(torch.relu(self.enter(x)))
        return out


class Net(nn.Module):
    """Three parts; the ones in the middle are recomputed in backward."""

    def __init__(self, reentrant: bool | None, nested: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Linear(8, 32), nn.Linear(32, 4)
        self.branches = nn.ModuleList([Branch(), Branch()])
        self.bare = nn.Parameter(torch.randn(32, 32) / 6)
        self.reentrant = reentrant
        for branch in self.branches:
            branch.nested = reentrant if nested else None

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.first(x))
        for part in (*self.branches, self._bare):
            if self.reentrant is None or not self.training:
                y = part(y)
            else:
                y = checkpoint(part, y, use_reentrant=self.reentrant)
        out: Tensor = self.last(y)
        return out

    def _bare(self, x: Tensor) -> Tensor:
        """Of a parameter that no module's forward reads."""
        return torch.relu(nn.functional.linear(x, self.bare))


def gradients(
    blocks: list[Block], reentrant: bool | None, nested: bool = False
) -> dict[str, Tensor]:
    torch.manual_seed(1)
    comp = Compressor(Net(reentrant, nested), EXAMPLE, None, "macs=50%", blocks=blocks, steps=100)
    with torch.no_grad():  # as in the midst of training
        comp.alpha.uniform_(0.2, 1.0, generator=torch.Generator().manual_seed(2))
        comp.alpha[:8] = 0.0
    x = torch.randn(16, 8, generator=torch.Generator().manual_seed(3))
    comp.train()(x).square().sum().backward()
    found = {n: p.grad for n, p in comp.named_parameters() if p.grad is not None}
    assert "selection.masks.alpha" in found
    return found


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("reentrant", [True, False])
@pytest.mark.parametrize(
    "blocks", [[Prune()], [Prune(), Depth()], [LowRank(divisor=1)]], ids=["prune", "depth", "rank"]
)
def test_recomputed_parts_see_the_masks(blocks: list[Block], reentrant: bool, nested: bool) -> None:
    wanted, got = gradients(blocks, None), gradients(blocks, reentrant, nested)
    assert got.keys() == wanted.keys()
    for name, gradient in wanted.items():
        torch.testing.assert_close(got[name], gradient, rtol=1e-4, atol=1e-6)


def test_nothing_of_it_is_left_behind() -> None:
    from torch.utils import checkpoint as module

    before = (module.CheckpointFunction, module._checkpoint_without_reentrant_generator)
    gradients([Prune()], True)
    assert (module.CheckpointFunction, module._checkpoint_without_reentrant_generator) == before
