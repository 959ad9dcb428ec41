"""Learned bit widths: what appendix A promises, and exact integers once hardened."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from latprof import UsageError
from latprof.compress._bits import Bits

KNOWN = (1, 2, 4, 8, 16)
widths = st.sets(st.sampled_from(KNOWN), min_size=1).map(sorted)
seeds = st.integers(0, 2**16)


def made(chosen: list[int], seed: int) -> tuple[Bits, Tensor]:
    """A tensor, and its bits with masks drawn from [0, 1], some of them at an end."""
    dice = torch.Generator().manual_seed(seed)
    weight = torch.randn(6, 5, generator=dice) * 10 ** float(torch.rand((), generator=dice) * 6 - 3)
    bits = Bits(weight, chosen)
    with torch.no_grad():
        drawn = torch.rand(len(chosen) - 1, generator=dice) * 1.5 - 0.25
        bits.alpha.copy_(drawn.clamp(0, 1))
    return bits, weight


@torch.no_grad()
@given(widths, seeds)
def test_shares_are_a_mixture_and_counts_lie_in_their_bounds(chosen: list[int], seed: int) -> None:
    bits, _ = made(chosen, seed)
    shares = bits.shares()
    assert (shares >= 0).all()
    assert float(shares.sum()) == pytest.approx(1, abs=1e-6)
    at_least = shares.flip(0).cumsum(0).flip(0)  # nested: share of this width or a larger one
    assert (at_least.diff() <= 1e-7).all()
    n, slack = len(chosen), 1 + 1e-5
    assert chosen[0] / slack <= float(bits.count("l1")) <= chosen[-1] * slack
    assert 1 / slack <= float(bits.count("l1l2")) <= math.sqrt(n) * slack
    assert float(bits.count("hoyer_square")) == pytest.approx(float(bits.count("l1l2")) ** 2)
    assert float(bits.cost()) >= float(bits.count("l1")) / slack


@given(widths, seeds)
def test_the_mixture_is_the_nested_sum_of_the_paper(chosen: list[int], seed: int) -> None:
    bits, weight = made(chosen, seed)
    at = [bits._at(weight, k) for k in range(len(chosen))]
    nested = torch.zeros_like(weight)
    for k in reversed(range(1, len(chosen))):  # W_b2 - W_b1 + alpha_b3 (...)
        nested = bits.alpha[k - 1] * (at[k] - at[k - 1] + nested)
    torch.testing.assert_close(bits.weight(weight), at[0] + nested)


@given(widths, seeds)
def test_hardened_weights_are_integers_exactly(chosen: list[int], seed: int) -> None:
    bits, weight = made(chosen, seed)
    bits.requires_grad_(False)
    expected = bits.bits()
    found = bits.harden(weight)
    assert found.bits == expected
    assert set(bits.alpha.tolist()) <= {0.0, 1.0}
    assert (bits.alpha.diff() <= 0).all()
    assert 0 <= int(found.integers.min()) <= int(found.integers.max()) <= 2**expected - 1
    assert torch.equal(bits.weight(weight), found.values())
    assert bits.weight(weight).unique().numel() <= 2**expected
    assert [float(bits.count(k)) for k in ("l1", "l1l2")] == pytest.approx([expected, 1])
    if expected >= 4:
        assert found.zero_point == round(found.zero_point)
        assert 0 <= found.zero_point <= 2**expected - 1
    again = bits.harden(found.values())  # rounding what is rounded changes nothing
    assert torch.equal(again.integers, found.integers)


@given(st.sampled_from(KNOWN), seeds)
def test_gradients_of_clip_and_rounding(width: int, seed: int) -> None:
    bits, weight = made([width], seed)
    with torch.no_grad():  # so that some lie outside, and none on an end
        bits.low.mul_(0.61)
        bits.high.mul_(0.57)
    weight.requires_grad_()
    with torch.no_grad():
        _, scale, zero = bits._position(weight, 0)
    low, high = float(-zero * scale), float((2**width - 1 - zero) * scale)
    bits.weight(weight).sum().backward()
    inside = (weight > low) & (weight < high)
    assert torch.equal(weight.grad, inside.float())
    if width < 4:  # the grid ends where the range does
        rounding = bits._position(weight, 0)[0].detach()
        off = ((rounding.round() - rounding) / (2**width - 1))[inside].sum()
        above, below = (weight >= high).sum(), (weight <= low).sum()
        assert float(bits.high.grad) == pytest.approx(float(above + off), abs=1e-4)
        assert float(bits.low.grad) == pytest.approx(float(below - off), abs=1e-4)


def test_more_bits_are_nearer_and_projection_is_one() -> None:
    bits, weight = made(list(KNOWN), 0)
    at = [bits._at(weight, k).detach() for k in range(len(KNOWN))]
    errors = [float((w - weight).square().sum()) for w in at]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 1e-6 * errors[0]
    with torch.no_grad():
        bits.alpha.copy_(torch.tensor([-1.0, 0.3, 2.0, 1.0]))
        bits.low.copy_(bits.high)
    bits.project()
    assert bits.alpha.tolist() == pytest.approx([0, 0.3, 1, 1])
    assert (bits.low < 0).all()
    assert (bits.high > 0).all()
    before = {name: value.clone() for name, value in bits.state_dict().items()}
    bits.project()
    assert all(
        torch.equal(a, b) for a, b in zip(before.values(), bits.state_dict().values(), strict=True)
    )


def test_training_chooses_fewer_bits_where_they_cost_nothing() -> None:
    """A binary tensor needs one bit: the penalty must find it, and leave the tensor alone."""
    weight = torch.tensor([[-0.5, 0.5], [0.5, -0.5]])
    bits = Bits(weight)
    optimizer = torch.optim.Adam(bits.parameters(), lr=0.02)
    for _ in range(300):
        loss = (bits.weight(weight) - weight).square().sum() + 0.01 * bits.cost()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        bits.project()
    assert bits.harden(weight).bits == 1
    torch.testing.assert_close(bits.weight(weight), weight, rtol=0, atol=0.02)


@pytest.mark.parametrize("wrong", [(), (4, 2), (3,), (2, 2)])
def test_widths_that_are_none(wrong: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="widths are"):
        Bits(torch.ones(3), wrong)
