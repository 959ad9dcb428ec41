"""What weights cost that the near cache has lost, and what of a kernel meets the map at all."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.tables import TARGET, truth_s

from latprof.surrogate import Surrogate, fit
from latprof.surrogate._shapes import Shapes
from latprof.tables import LatencyTable, ModelMeasurement, plan
from latprof.vocabulary._measurement import Measurement
from latprof.workloads import Conv2d, Elementwise, Workload

_CACHE, _PER_BYTE_S = 1.5e6, 3e-11
_FULL: list[Workload] = [
    Conv2d(14, 14, 128, 128, kernel=3),
    Conv2d(7, 7, 128, 256, kernel=3),
    Conv2d(7, 7, 256, 256, kernel=3),
    Conv2d(7, 7, 256, 512),
    Elementwise("relu", 7, 7, 512),
]


def _loaded_bytes(*ops: Workload) -> float:
    """Weights that ops in turn load at each call."""
    weights = sum(w.weight_bytes for w in ops)
    touched = weights + sum(w.activation_bytes for w in ops)
    return weights * min(1.0, max(0.0, 1.5 * (1 - _CACHE / touched)))


def _alone_s(workload: Workload) -> float:
    return truth_s(workload) + _PER_BYTE_S * _loaded_bytes(workload)


def _model(number: int, rng: np.random.Generator) -> ModelMeasurement:
    share = rng.uniform(0.1, 1.0)
    widths = [max(int(share * rng.uniform(0.5, 1.0) * c), 4) for c in (128, 128, 256, 256, 512)]
    pairs = [*itertools.pairwise(widths), (widths[-1], widths[-1])]
    ops = tuple(w.with_channels(*pair) for w, pair in zip(_FULL, pairs, strict=True))
    seconds = 5e-6 + sum(map(truth_s, ops)) + _PER_BYTE_S * _loaded_bytes(*ops)
    return ModelMeasurement(name=f"#{number}", workloads=ops, samples_s=((seconds,),))


def _fitted(n_models: int) -> Surrogate:
    rows = [
        Measurement(workload=w, samples_s=((_alone_s(w),),), measured_at="2024-05-01T12:00:00")
        for w in plan(_FULL, n_shapes=160)
    ]
    rng = np.random.default_rng(3)
    models = [_model(n, rng) for n in range(n_models)]
    return fit(LatencyTable(TARGET, tuple(rows)).with_models(models), method="tile")


@pytest.fixture(scope="module")
def surrogate() -> Surrogate:
    return _fitted(16)


def test_a_few_models_show_no_cache() -> None:
    assert _fitted(6).composition.cache_bytes is None


def test_the_cache_is_found_and_other_models_are_predicted(surrogate: Surrogate) -> None:
    cache_bytes = surrogate.composition.cache_bytes
    assert cache_bytes is not None
    assert cache_bytes == pytest.approx(_CACHE, rel=0.15)
    rng = np.random.default_rng(4)
    errors = [
        float(surrogate.predict_model(m.workloads).latency_s) / m.latency_s - 1
        for m in (_model(n, rng) for n in range(40))
    ]
    assert np.abs(errors).mean() < 0.02


def _pairs(shares: list[float]) -> torch.Tensor:
    full = torch.tensor([w.channels for w in _FULL], dtype=torch.float64)
    counts = full * torch.tensor(shares, dtype=torch.float64).reshape(-1, 2)
    return torch.where((counts - counts.round()).abs() < 1e-2, counts.floor() + 0.3, counts)


def test_shares_add_up_to_the_model_on_either_side_of_the_cache(surrogate: Surrogate) -> None:
    module = surrogate.torch_module(_FULL).double()
    for share in (0.125, 0.5, 0.75, 1.0):
        ops = [w.with_channels(*(int(share * c) for c in w.channels)) for w in _FULL]
        counts = torch.tensor([w.channels for w in ops], dtype=torch.float64)
        # Equal at knots only; of these shares each is one.
        whole_s = float(module(counts).sum()) + module.constant_s
        assert whole_s == pytest.approx(float(surrogate.predict_model(ops).latency_s), rel=2e-3)


@given(st.lists(st.floats(0.05, 0.98), min_size=2 * len(_FULL), max_size=2 * len(_FULL)))
def test_the_gradient_is_that_of_all_ops_together(
    surrogate: Surrogate, shares: list[float]
) -> None:
    module = surrogate.torch_module(_FULL).double()
    counts = _pairs(shares).requires_grad_()
    (gradient,) = torch.autograd.grad(module(counts).sum(), counts)
    step = 1e-4
    for op in range(len(_FULL)):
        for axis in (0, 1):
            shift = torch.zeros_like(counts)
            shift[op, axis] = step
            with torch.no_grad():
                up, down = module(counts + shift).sum(), module(counts - shift).sum()
            slope = float((up - down) / (2 * step))
            assert float(gradient[op, axis]) == pytest.approx(slope, rel=1e-3, abs=1e-13)


def test_what_may_stand_for_ops_is_not_counted_with_them(surrogate: Surrogate) -> None:
    other = [Conv2d(7, 7, 256, 64), Conv2d(7, 7, 64, 512)]
    both = surrogate.torch_module([*_FULL, *other], alternatives=2)
    alone = surrogate.torch_module(_FULL)
    counts = torch.tensor([w.channels for w in (*_FULL, *other)], dtype=torch.float32)
    torch.testing.assert_close(both(counts)[: len(_FULL)], alone(counts[: len(_FULL)]))


@given(
    h=st.integers(1, 9),
    w=st.integers(1, 9),
    kernel=st.sampled_from([1, 3, 5]),
    stride=st.integers(1, 3),
    dilation=st.integers(1, 2),
)
def test_taps_are_counted_as_a_convolution_uses_them(
    h: int, w: int, kernel: int, stride: int, dilation: int
) -> None:
    op = Conv2d(h, w, 1, 1, kernel=kernel, stride=stride, dilation=dilation)
    taps = torch.ones(1, 1, kernel, kernel, dtype=torch.float64, requires_grad=True)
    used = torch.nn.functional.conv2d(
        torch.ones(1, 1, h, w, dtype=torch.float64), taps, None, stride, op.padding, dilation
    )
    (met,) = torch.autograd.grad(used.sum(), taps)
    shapes = Shapes.of([op])
    assert shapes.inside[0] == pytest.approx(float(used.detach().mean()) / kernel**2)
    assert shapes.met[0] == pytest.approx(float((met > 0).double().mean()))
