"""Weights that are worked out where they are used: the same function, in fewer products."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from latprof.compress import Compressor, LowRank, Prune
from latprof.compress.masks._deferred import Deferred, Masked, Product

Use = Callable[[Tensor, Tensor], Tensor]


def leaves(*shapes: tuple[int, ...]) -> list[Tensor]:
    made = torch.Generator().manual_seed(0)
    return [torch.randn(s, generator=made, dtype=torch.float64, requires_grad=True) for s in shapes]


def the_same(use: Use, input: Tensor, deferred: Deferred, *parts: Tensor) -> None:
    """Value and gradients are those of the whole weight."""
    found, wanted = use(input, deferred), use(input, deferred.whole())
    assert type(found) is Tensor
    torch.testing.assert_close(found, wanted)
    direction = torch.randn_like(wanted)
    of = [(r * direction).sum() for r in (found, wanted)]
    gradients = [torch.autograd.grad(r, (input, *parts)) for r in of]
    for mine, whole in zip(*gradients, strict=True):
        torch.testing.assert_close(mine, whole)


USES: list[Use] = [
    functional.linear,
    lambda x, w: functional.linear(x, w, torch.ones(8, dtype=x.dtype)),
    lambda x, w: functional.linear(input=x, weight=w),
    lambda x, w: x @ w.T,
    lambda x, w: x[..., None, :] * (w * 2).reshape(w.shape[0], -1),
    lambda x, w: functional.linear(w, x[:1].flatten(0, -2)),
]


@pytest.mark.parametrize("rows", [(3,), (2, 1), (50,), (5, 10)])
@pytest.mark.parametrize("use", USES)
def test_a_linear_layer(use: Use, rows: tuple[int, ...]) -> None:
    x, weight, mask, left, right = leaves((*rows, 6), (8, 6), (6,), (8, 6), (6, 6))
    the_same(use, x, Masked(weight, mask), weight, mask)
    the_same(use, x, Product(left, right), left, right)


@pytest.mark.parametrize("places", [1, 3, 12])
@pytest.mark.parametrize("groups", [{}, {"stride": 2}, {"padding": 1}])
def test_a_convolution(places: int, groups: dict[str, int]) -> None:
    x, weight, mask = leaves((2, 4, places + 2, places + 2), (8, 4, 3, 3), (4,))

    def use(x: Tensor, w: Tensor) -> Tensor:
        return functional.conv2d(x, w, None, **groups)  # type: ignore[arg-type]

    the_same(use, x, Masked(weight, mask), weight, mask)


def test_few_rows_do_not_multiply_the_weight() -> None:
    """What it is for: of a classifier the whole weight is never made."""

    class Counted(Product):
        made = 0

        def whole(self) -> Tensor:
            type(self).made += 1
            return super().whole()

    left, right = leaves((100, 60), (60, 60))
    for rows, made in ((4, 0), (10_000, 1)):
        Counted.made = 0
        functional.linear(leaves((rows, 60))[0], Counted(left, right))
        assert Counted.made == made


class Classifier(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 16, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Conv2d(16, 32, 1), nn.ReLU()
        )
        self.hidden, self.head = nn.Linear(32, 32), nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        hidden: Tensor = self.hidden(self.body(x).flatten(1)).relu()
        out: Tensor = self.head(hidden)
        return out


@pytest.mark.parametrize("blocks", [(Prune(),), (LowRank(divisor=1),), (Prune(), LowRank())])
def test_a_compressor_computes_what_its_whole_weights_do(blocks: tuple[Prune | LowRank]) -> None:
    torch.manual_seed(0)
    comp = Compressor(Classifier(), torch.zeros(1, 1, 12, 12), None, "macs=70%", blocks=blocks)
    x = torch.randn(4, 1, 12, 12)
    with torch.no_grad():
        comp.alpha.uniform_(0.2, 1.0)
        whole = comp.weights(comp.model, comp.scales())
        assert not any(isinstance(w, Deferred) for w in whole.values())
        wanted = functional_call(comp.model, whole, (x,))
        torch.testing.assert_close(comp(x), wanted, rtol=1e-5, atol=1e-5)
    comp(x).sum().backward()
    trained = [p for p in comp.parameters() if p.requires_grad]
    assert all(p.grad is not None for p in trained)
