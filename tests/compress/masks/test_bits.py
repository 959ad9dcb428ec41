"""Nested bit widths: clipping, grids and gradients, as laws."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from latprof.compress import Quantise, Quantize
from latprof.compress.export import CODE_BITS, best_encoding
from latprof.compress.masks._bits import Bits
from latprof.compress.masks._grids import clip, nearest
from latprof.compress.masks._scales import Scales
from latprof.compress.space import Layer
from latprof.errors import UsageError

numbers = st.floats(-3, 3, width=32)
weights = st.lists(numbers, min_size=2, max_size=30).map(torch.tensor)


@given(weights, numbers, st.floats(0.125, 4, width=32))
def test_clip_is_clamp(weight: torch.Tensor, low: float, span: float) -> None:
    lower, upper = torch.tensor(low), torch.tensor(low + span)
    wanted = weight.clamp(low, float(upper))
    torch.testing.assert_close(clip(weight, lower, upper), wanted, rtol=1e-5, atol=1e-5)


@given(weights, st.sampled_from([1, 2, 3, 4, 8]))
def test_a_quantized_weight_has_few_values_and_stays_so(weight: torch.Tensor, bits: int) -> None:
    lower, upper = torch.tensor(-2.0), torch.tensor(1.5)
    once = nearest(weight, lower, upper, bits, "even")
    assert len(once.unique()) <= 2**bits
    step = 3.5 / (2**bits - 1)
    assert float((once - weight.clamp(-2.0, 1.5)).abs().max()) <= step / 2 + 1e-5
    again = nearest(once, lower, upper, bits, "even")
    torch.testing.assert_close(again, once, rtol=1e-5, atol=1e-5)


@given(weights, st.sampled_from(["integer", "symmetric"]), st.integers(2, 8), numbers, numbers)
def test_zero_is_on_the_grids_of_runtimes(
    weight: torch.Tensor, grid: str, bits: int, one: float, other: float
) -> None:
    ends = [torch.tensor(end) for end in sorted((one, other))]
    if ends[0] == ends[1]:
        ends[1] = ends[0] + 1
    found = nearest(weight, *ends, bits, grid)
    assert bool((nearest(torch.zeros(1), *ends, bits, grid) == 0).all())
    torch.testing.assert_close(nearest(found, *ends, bits, grid), found, rtol=1e-5, atol=1e-7)
    if grid == "symmetric":
        assert torch.equal(nearest(-weight, *ends, bits, grid), -found)
    everything = nearest(torch.linspace(-4, 4, 2000), *ends, bits, grid)
    assert len(everything.unique()) <= 2**bits
    encoding, _ = best_encoding(everything.repeat(20).numpy())
    assert encoding.bits <= min(b for b in CODE_BITS if b >= bits)
    if encoding.bits == 8:
        assert encoding.values == "grid"  # a scale and a zero point tell it all, exactly


@pytest.mark.parametrize("scales", ["channel", "block-32"])
@pytest.mark.parametrize("shape", [(24, 80), (24, 16, 3, 3), (16, 1, 3, 3)])
@pytest.mark.parametrize("grid", ["integer", "symmetric"])
@pytest.mark.parametrize("kept", [1, 2])
def test_each_row_has_a_step_of_its_own(
    scales: str, shape: tuple[int, ...], grid: str, kept: int
) -> None:
    torch.manual_seed(0)
    weight = torch.randn(shape) * torch.logspace(-2, 2, shape[0]).view(-1, *(1 for _ in shape[1:]))
    rows = Scales(Layer("", shape), scales)
    bits = Bits(weight, (4, 8), grid, scales=rows)
    beta = torch.tensor([1.0, float(kept > 1), 0.0])
    with torch.no_grad():
        found = bits(weight, beta)
    width = (4, 8)[kept - 1]
    assert all(len(row.unique()) <= 2**width for row in rows.rows(found))
    error = (found - weight).flatten(1).abs().amax(1) / weight.flatten(1).abs().amax(1)
    assert float(error.max()) < 0.5  # however small a channel is
    encoding, _ = best_encoding(np.tile(found.numpy(), (40, *(1 for _ in shape[1:]))))
    assert encoding.values in ("rows", "table")  # a short weight has few values


@pytest.mark.parametrize("shape", [(8, 80), (8, 50, 3, 3)])
def test_blocks_are_those_of_the_inputs_that_stay(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    weight = torch.randn(shape)
    alive = torch.ones(shape, dtype=torch.bool)
    alive[:, ::3] = False
    rows = Scales(Layer("", shape), "block-32")
    assert torch.equal(rows.back(rows.rows(weight)), weight)
    assert rows.lay(alive)
    assert not rows.lay(alive)
    assert torch.equal(rows.back(rows.rows(weight)), weight)
    left = weight[:, alive.flatten(2).any(2)[0] if len(shape) > 2 else alive[0]].flatten(1)
    whole = left.shape[1] // 32 * 32
    blocks = rows.rows(weight).view(len(weight), -1, 32).flatten(1)[:, :whole]
    assert torch.equal(blocks, left[:, :whole])


def test_bfloat16_is_the_other_half() -> None:
    weight = torch.randn(50) * 1e30
    found = nearest(weight, torch.tensor(0.0), torch.tensor(1.0), 16, "integer", "bfloat16")
    assert torch.equal(found, weight.bfloat16().float())
    assert best_encoding(found.numpy())[0].values == "bfloat16"


@pytest.mark.parametrize(
    "wrong",
    [{"scales": "row"}, {"half": "int16"}, {"scales": "channel", "bits": (1, 8)},
     {"scales": "channel", "bits": (4,), "grid": "even"}],
)  # fmt: skip
def test_scales_that_cannot_be(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="expected"):
        Quantize(**wrong)


def test_sixteen_bits_are_float16() -> None:
    weight = torch.randn(50)
    found = nearest(weight, torch.tensor(0.0), torch.tensor(1.0), 16, "integer")
    assert torch.equal(found, weight.half().float())


def test_gradients_pass_straight_through_and_reach_the_clip_range() -> None:
    weight = torch.tensor([-5.0, 0.3, 5.0], requires_grad=True)
    lower = torch.tensor(-1.0, requires_grad=True)
    upper = torch.tensor(1.0, requires_grad=True)
    nearest(weight, lower, upper, 4, "even").sum().backward()  # type: ignore[no-untyped-call]
    assert weight.grad is not None
    assert weight.grad.tolist() == [0.0, 1.0, 0.0]
    assert lower.grad is not None
    assert upper.grad is not None
    assert float(lower.grad) == pytest.approx(1.0, abs=0.2)  # the one weight that lies below it
    assert float(upper.grad) == pytest.approx(1.0, abs=0.2)


@pytest.mark.parametrize("kept", [1, 2, 3, 4])
def test_hard_masks_choose_one_width(kept: int) -> None:
    torch.manual_seed(0)
    weight = torch.randn(8, 8)
    bits = Bits(weight, (2, 4, 8))
    beta = (torch.arange(4) < kept).float()
    found = bits(weight, beta)
    if kept == 4:
        torch.testing.assert_close(found, weight)
        return
    wanted = nearest(weight, *bits.ranges(beta)[kept - 1], bits.widths[kept - 1], bits.grid)
    torch.testing.assert_close(found, wanted)


def test_more_bits_are_nearer() -> None:
    torch.manual_seed(0)
    weight = torch.randn(64, 64)
    bits = Bits(weight, (1, 2, 4, 8, 16))
    masks = [(torch.arange(6) < kept).float() for kept in range(1, 7)]
    with torch.no_grad():
        errors = [float((bits(weight, mask) - weight).norm()) for mask in masks]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 1e-4


def test_only_the_highest_width_kept_learns_its_range() -> None:
    torch.manual_seed(0)
    weight = torch.randn(16, 16)
    bits = Bits(weight, (2, 4, 8))
    for kept in range(1, 5):
        bits.stretch.grad = None
        beta = (torch.arange(4) < kept) * 0.9
        bits(weight, beta).square().sum().backward()  # type: ignore[no-untyped-call]
        grad = bits.stretch.grad
        learns = [] if grad is None else [j for j in range(3) if grad[j].abs().sum() > 0]
        assert learns == [kept - 1][: 4 - kept]
    with torch.no_grad():
        bits.stretch.fill_(0.5)
    before = bits.ranges(beta).clone()
    bits.refit(2 * weight, torch.tensor([1.0, 1.0, 0.0, 0.0]))
    assert torch.equal(bits.ranges(beta)[1], before[1])
    assert torch.equal(bits.ranges(beta)[2], bits.begin[2])
    assert float(bits.begin[2, 1]) == pytest.approx(2 * float(weight.max()), rel=0.2)


@pytest.mark.parametrize("bits", [(), (4, 2), (0,), (8, 8), (12,), (32,)])
def test_other_widths_are_refused(bits: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="expected ascending widths from 1 to 8"):
        Quantize(bits=bits)


def test_other_grids_are_refused() -> None:
    with pytest.raises(UsageError, match="expected one of even, integer, symmetric"):
        Quantize(grid="log")


def test_the_former_spelling_stays() -> None:
    assert Quantise is Quantize
