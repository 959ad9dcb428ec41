"""Donors: another target's fit, moved to a few rows."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pytest
from support.tables import TARGET, table_of, truth_s

from latprof.errors import TargetMismatchError, UsageError
from latprof.surrogate import DonorWarning, fit
from latprof.tables import LatencyTable, plan
from latprof.vocabulary import Measurement
from latprof.workloads import Conv2d, Workload

LARGEST = [Conv2d(14, 14, 256, 256), Conv2d(28, 28, 128, 128)]
DONOR = table_of(plan(LARGEST, n_shapes=80), noise=0.01)
WANTED = plan(LARGEST, n_shapes=40, seed=5)


def _moved(workloads: list[Workload], power: float) -> LatencyTable:
    """A device that takes half the donor's time, to a power."""
    rows = [(w, 0.5 * 1e-4 * (truth_s(w) / 1e-4) ** power) for w in workloads]
    measured = tuple(Measurement(workload=w, samples_s=((s,),)) for w, s in rows)
    return LatencyTable(replace(TARGET, device="another CPU"), measured)


def _mape(table: LatencyTable, donors: list[LatencyTable], power: float) -> float:
    rows = _moved(WANTED, power).measurements
    predicted = fit(table, donors=donors).predict(WANTED).latency_s
    return float(np.abs(predicted / [m.latency_s for m in rows] - 1).mean())


def test_ten_rows_and_a_near_donor_are_better_than_ten_rows() -> None:
    table = _moved(plan(LARGEST, n_shapes=10, seed=1), 0.9)
    with warnings.catch_warnings():
        warnings.simplefilter("error", DonorWarning)
        fitted = fit(table, donors=[DONOR])
    assert [(f.method, f.donor) for f in fitted.labels.values()] == [("transfer", TARGET)]
    with_donor, alone = _mape(table, [DONOR], 0.9), _mape(table, [], 0.9)
    assert with_donor < 0.06
    assert with_donor < 0.5 * alone


def test_a_donor_that_does_not_help_is_refused_with_a_warning() -> None:
    table = table_of(plan(LARGEST, n_shapes=60), noise=0.01)
    rng = np.random.default_rng(0)
    noise = tuple(
        replace(m, samples_s=((m.latency_s * float(np.exp(rng.normal(0, 1.5))),),))
        for m in DONOR.measurements
    )
    senseless = LatencyTable(replace(TARGET, device="another CPU"), noise)
    with pytest.warns(DonorWarning, match="donor another CPU .* is not used"):
        fitted = fit(table, donors=[senseless])
    alone = fit(table)
    assert fitted.predict(WANTED).latency_s == pytest.approx(alone.predict(WANTED).latency_s)


def test_a_donor_is_of_another_target() -> None:
    with pytest.raises(TargetMismatchError, match="latprof table merge"):
        fit(DONOR, donors=[DONOR])
    with pytest.raises(UsageError, match="donors take auto"):
        fit(DONOR, method="tile", donors=[_moved(WANTED, 1.0)])
