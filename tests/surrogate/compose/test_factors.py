"""What ops alone and bytes that are loaded anew are each given of a network's time."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from support.few_bits import few_bits_table, seconds_of

from latprof.surrogate import fit
from latprof.tables import ModelMeasurement
from latprof.workloads import MatMul

_PER_BYTE_S, _NOISE = 1e-9, 0.06


def _seconds(ops: tuple[MatMul, ...]) -> float:
    return sum(seconds_of(w) + _PER_BYTE_S * w.weight_bytes for w in ops)


def _model(number: int, rng: np.random.Generator) -> ModelMeasurement:
    widths = rng.integers(8, 64, 5).tolist()
    ops = tuple(MatMul(8, k, n) for k, n in itertools.pairwise(widths))
    seconds = _seconds(ops) * (1 + _NOISE * rng.standard_normal())
    return ModelMeasurement(name=f"#{number}", workloads=ops, samples_s=((seconds,),))


@pytest.mark.parametrize("seed", [2, 10, 18])
def test_noise_does_not_give_the_time_of_products_to_their_bytes(seed: int) -> None:
    rng = np.random.default_rng(seed)
    models = [_model(n, rng) for n in range(14)]
    surrogate = fit(few_bits_table().with_models(models), method="tile")
    assert surrogate.composition.factors["matmul"] >= 0.7
    whole = tuple(MatMul(8, k, n) for k, n in ((64, 64), (64, 48), (48, 64)))
    few = tuple(w.with_weight_bits(4) for w in whole)
    predicted = surrogate.predict_model(few).latency_s / surrogate.predict_model(whole).latency_s
    assert float(predicted) == pytest.approx(_seconds(few) / _seconds(whole), rel=0.25)
