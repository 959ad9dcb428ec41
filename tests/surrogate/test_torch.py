"""The torch module: what predict says at the knots, exact gradients, one call, any dtype."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.tables import OPS, planned, table_of, variants

from latprof.surrogate import METHODS, Surrogate, fit
from latprof.tables import LatencyTable, plan
from latprof.workloads import Conv2d

_TABLE = planned("grid", 240)
_CALIBRATED = fit(_TABLE.with_models(variants(12)), method="tile")


def _counts(dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.tensor([w.channels for w in OPS], dtype=dtype)


def _shares_s(surrogate: Surrogate) -> list[float]:
    """What each op of OPS is to take inside a model."""
    shares = []
    for w in OPS:
        c_in, c_out = (np.array([float(c)]) for c in w.channels)
        shares.append(float(surrogate.shares_at(w, c_in, c_out, reload_fraction=1.0)[0]))
    return shares


@pytest.mark.parametrize("method", METHODS)
def test_full_counts_read_what_predict_says(method: str) -> None:
    surrogate = fit(_TABLE, method=method)
    module = surrogate.torch_module(OPS)
    for dtype, rtol in ((torch.float32, 1e-5), (torch.float64, 1e-6)):
        seconds = module.to(dtype)(_counts(dtype))
        assert seconds.shape == (len(OPS),)
        assert seconds.dtype == dtype
        np.testing.assert_allclose(seconds, _shares_s(surrogate), rtol=rtol)


def test_shares_and_the_constant_add_up_to_the_model() -> None:
    module = _CALIBRATED.torch_module(OPS).double()
    whole_s = float(module(_counts()).sum()) + module.constant_s
    assert whole_s == pytest.approx(float(_CALIBRATED.predict_model(OPS).latency_s), rel=1e-6)


@pytest.mark.parametrize("method", ["linear", "tile"])
def test_every_knot_reads_what_the_law_says(method: str) -> None:
    surrogate = fit(_TABLE, method=method)
    op = Conv2d(14, 14, 96, 160)
    module = surrogate.torch_module([op]).double()
    knots = [surrogate.knots(op, axis, op.channels[axis]) for axis in (0, 1)]
    for i in knots[0]:
        for o in knots[1]:
            read = float(module(torch.tensor([[i, o]], dtype=torch.float64)))
            law_s = surrogate.shares_at(op, np.array([i]), np.array([o]), reload_fraction=1.0)[0]
            assert read == pytest.approx(law_s, rel=1e-6)


@given(st.lists(st.floats(0.01, 1.0), min_size=2 * len(OPS), max_size=2 * len(OPS)))
def test_gradients_are_finite_differences_away_from_knots(shares: list[float]) -> None:
    module = _CALIBRATED.torch_module(OPS).double()
    counts = _counts() * torch.tensor(shares, dtype=torch.float64).reshape(-1, 2)
    counts = torch.where((counts - counts.round()).abs() < 1e-2, counts.floor() + 0.3, counts)
    counts.requires_grad_()
    (gradient,) = torch.autograd.grad(module(counts).sum(), counts)
    step = 1e-3
    for axis in (0, 1):
        shift = torch.zeros_like(counts)
        shift[:, axis] = step
        with torch.no_grad():
            difference = (module(counts + shift) - module(counts - shift)) / (2 * step)
        torch.testing.assert_close(gradient[:, axis], difference, rtol=1e-3, atol=1e-15)


def test_float32_gradients_agree_with_float64() -> None:
    module = _CALIBRATED.torch_module(OPS)
    gradients = []
    for dtype in (torch.float32, torch.float64):
        counts = (_counts(dtype) * 0.6).requires_grad_()
        (gradient,) = torch.autograd.grad(module.to(dtype)(counts).sum(), counts)
        gradients.append(gradient.double())
    torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-12)


def test_inside_a_tile_the_gradient_is_the_envelopes() -> None:
    surrogate = fit(table_of(plan([Conv2d(14, 14, 128, 128)], n_shapes=80)), method="tile")
    op = Conv2d(14, 14, 128, 128)
    flat = surrogate.at(op, np.full(2, 128.0), np.array([52.0, 60.0]))
    assert flat[1] / flat[0] < 1.06  # inside one tile the law itself is nearly flat
    counts = torch.tensor([[128.0, 56.0]], requires_grad=True)
    surrogate.torch_module([op])(counts).sum().backward()
    tops = surrogate.shares_at(op, np.full(2, 128.0), np.array([48.0, 64.0]), reload_fraction=1.0)
    assert counts.grad is not None
    assert float(counts.grad[0, 1]) == pytest.approx((tops[1] - tops[0]) / 16, rel=0.01)


def test_the_linear_surrogate_is_read_at_every_count_of_its_table() -> None:
    op = Conv2d(14, 14, 96, 96)
    shapes = plan([op], method="paper", n_shapes=70**2, theta=66)
    surrogate = fit(table_of(shapes), method="linear")
    counts = np.unique([shape.c_out for shape in shapes]).astype(float)
    assert len(counts) > 60
    pairs = torch.stack([torch.full((len(counts),), 96.0), torch.from_numpy(counts)], dim=1)
    module = surrogate.torch_module([op]).double()
    drawn = module(pairs.unsqueeze(1).double())[:, 0].numpy()
    read = surrogate.shares_at(op, np.full(len(counts), 96.0), counts, reload_fraction=1.0)
    np.testing.assert_allclose(drawn, read, rtol=1e-5)


def test_counts_are_held_to_their_range_and_zero_is_free() -> None:
    module = _CALIBRATED.torch_module(OPS).double()
    torch.testing.assert_close(module(_counts() * 3), module(_counts()))
    assert torch.all(module(torch.zeros(len(OPS), 2, dtype=torch.float64)) == 0)
    assert torch.all(module(-_counts()) == 0)
    assert torch.all(torch.isfinite(module(_counts() * 0.5)))


def test_tied_ops_read_their_output_count_alone() -> None:
    tied = [w for w in OPS if w.tied]
    module = _CALIBRATED.torch_module(tied).double()
    counts = torch.tensor([w.channels for w in tied], dtype=torch.float64) / 2
    counts.requires_grad_()
    (gradient,) = torch.autograd.grad(module(counts).sum(), counts)
    assert torch.all(gradient[:, 0] == 0)
    assert torch.any(gradient[:, 1] > 0)


def test_state_moves_and_compiles() -> None:
    module = _CALIBRATED.torch_module(OPS)
    counts = _counts(torch.float32) * 0.7
    again = _CALIBRATED.torch_module(OPS)
    again.load_state_dict(module.state_dict())
    torch.testing.assert_close(again(counts), module(counts))
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(counts), module(counts))


def test_one_model_of_many_ops_is_one_call() -> None:
    """Operators per call do not grow with the number of ops."""

    def operators(surrogate: Surrogate, n: int) -> int:
        module = surrogate.torch_module(OPS * n)
        counts = (_counts(torch.float32).repeat(n, 1) * 0.7).requires_grad_()
        with torch.profiler.profile() as profile:
            module(counts).sum().backward()
        return len(profile.events())

    assert operators(_CALIBRATED, 10) == operators(_CALIBRATED, 1)


def test_a_table_of_one_row_has_a_module() -> None:
    module = fit(LatencyTable(_TABLE.target, _TABLE.measurements[:1])).torch_module(OPS)
    assert torch.all(module(_counts(torch.float32)) > 0)
