"""A donor moved to ten rows of several kinds of op, and which ten."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.tables import OPS, TARGET, planned, truth_s

from latprof.errors import TargetMismatchError
from latprof.surrogate import DonorWarning, Shapes, Surrogate, chosen_for, fit, fit_file
from latprof.surrogate.methods import MovedLaw
from latprof.tables import (
    LatencyTable,
    families_of,
    plan,
    read_csv,
    read_json,
    write_csv,
    write_json,
)
from latprof.vocabulary import Measurement
from latprof.workloads import Conv2d, MatMul, Workload

NEW = replace(TARGET, device="another CPU")
DONOR = planned(n_shapes=160)
WANTED = plan(OPS, n_shapes=120, seed=7)
#: Kinds of op differ in how much faster the new device is.
FASTER = {"conv2d.k1": 0.5, "conv2d.k3": 0.45, "conv2d.depthwise.k3": 0.65, "matmul": 0.55}


@pytest.fixture(scope="module")
def donor() -> Surrogate:
    return fit(DONOR)


def _new_s(workload: Workload) -> float:
    level = FASTER.get(workload.label, 0.5)
    return level * 1e-5 * (truth_s(workload) / 1e-5) ** 0.95


def _table(workloads: Sequence[Workload]) -> LatencyTable:
    rows = [Measurement(workload=w, samples_s=((_new_s(w),),)) for w in workloads]
    return LatencyTable(NEW, tuple(rows))


def _mape(table: LatencyTable, donors: Sequence[LatencyTable] = ()) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("error", DonorWarning)
        predicted_s = fit(table, donors=donors).predict(WANTED).latency_s
    return float(np.abs(predicted_s / [_new_s(w) for w in WANTED] - 1).mean())


def test_ten_rows_of_eight_kinds_move_a_donor(donor: Surrogate) -> None:
    chosen = chosen_for(OPS, donor, n_shapes=10)
    table = _table(chosen)
    moved, alone = _mape(table, [DONOR]), _mape(table)
    assert moved < 0.10
    assert moved < 0.3 * alone
    fitted = fit(table, donors=[DONOR])
    assert {f.donor for f in fitted.labels.values()} == {TARGET}
    predicted = fitted.predict(WANTED)
    truth = np.array([_new_s(w) for w in WANTED])
    assert ((predicted.lower_s <= truth) & (truth <= predicted.upper_s)).mean() > 0.8


def test_chosen_shapes_tell_more_than_drawn_ones(donor: Surrogate) -> None:
    chosen = chosen_for(OPS, donor, n_shapes=8)
    assert len(set(chosen)) == 8
    rng = np.random.default_rng(0)
    draws = [_table([WANTED[i] for i in rng.permutation(len(WANTED))[:8]]) for _ in range(3)]
    assert _mape(_table(chosen), [DONOR]) < np.mean([_mape(draw, [DONOR]) for draw in draws])


def test_a_kind_that_only_the_donor_has_is_moved_with_the_others() -> None:
    table = _table([w for w in plan(OPS, n_shapes=30, seed=3) if w.label != "conv2d.k3"])
    fitted = fit(table, donors=[DONOR])
    op = Conv2d(14, 14, 48, 48, kernel=3, stride=2)
    predicted = fitted.predict([op])
    assert predicted.latency_s[0] == pytest.approx(_new_s(op), rel=0.25)
    assert predicted.lower_s[0] < _new_s(op) < predicted.upper_s[0]
    (warning,) = predicted.warnings
    assert warning.startswith(
        "conv2d.k3: 1 op(s) and no row in the table; estimated from the donor test CPU"
    )


def test_a_kind_that_no_donor_has_is_measured_and_fitted_alone() -> None:
    strange = MatMul(1, 64, 64, dtype="int8")
    chosen = chosen_for([*OPS, strange], fit(DONOR), n_shapes=6)
    assert chosen[0] == strange
    assert len(chosen) == 6
    labels = fit(_table(chosen), donors=[DONOR]).labels
    assert (labels[strange.label].method, labels[strange.label].donor) == ("roofline", None)
    assert chosen_for([strange], fit(DONOR), n_shapes=6) == [strange]


def test_donors_that_know_nothing_are_refused() -> None:
    rng = np.random.default_rng(0)
    rows = [
        replace(m, samples_s=((m.latency_s * float(np.exp(rng.normal(0, 2.5))),),))
        for m in DONOR.measurements
    ]
    senseless = LatencyTable(TARGET, tuple(rows))
    with pytest.warns(DonorWarning, match="is not used"):
        fitted = fit(_table(WANTED[:16]), donors=[senseless])
    assert all(f.donor is None for f in fitted.labels.values())


def test_the_table_keeps_its_donors(tmp_path: Path) -> None:
    table = _table(WANTED[:12]).with_donors([DONOR])
    path = table.save(tmp_path / "new.parquet")
    assert LatencyTable.load(path) == table
    assert read_json(write_json(table, tmp_path / "new.json")) == table
    assert read_csv(write_csv(table, tmp_path / "new.csv")) == table
    predicted_s = fit(_table(WANTED[:12]), donors=[DONOR]).predict(WANTED).latency_s
    for again in (fit(table), fit_file(path), fit_file(path)):  # the second is a kept one
        assert again.predict(WANTED).latency_s == pytest.approx(predicted_s)
    assert not table.with_donors([]).donors
    more = _table(WANTED[12:20])
    assert more.merge(table).donors == table.donors


def test_donors_of_donors_are_donors() -> None:
    third = replace(_table(WANTED[:9]), target=replace(TARGET, device="a third CPU"))
    table = _table([OPS[0]]).with_donors([third.with_donors([DONOR])])
    assert [d.target for d in table.donors] == [TARGET, third.target]
    assert all(not d.donors for d in table.donors)
    with pytest.raises(TargetMismatchError, match="latprof table merge"):
        table.with_donors([_table([OPS[1]])])


def test_families_share_the_shapes_by_their_time(donor: Surrogate) -> None:
    heavy = [Conv2d(56, 56, 256, 256)] * 20
    light = [Conv2d(7, 7, 8, 8)]
    chosen = chosen_for([*heavy, *light], donor, n_shapes=6)
    of_heavy = sum(w.family == families_of(heavy)[0].member.family for w in chosen)
    assert of_heavy >= 4


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_a_row_or_two_move_a_donor(rows: int) -> None:
    table = _table(WANTED[:rows])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DonorWarning)
        predicted_s = fit(table, donors=[DONOR]).predict(WANTED).latency_s
    assert np.isfinite(predicted_s).all()
    if rows == 1:
        assert np.abs(predicted_s / [_new_s(w) for w in WANTED] - 1).mean() < 0.5


def test_a_kind_of_two_rows_beside_many_keeps_them() -> None:
    """The change is fitted to a part of the rows, and to some of each kind."""
    many = plan([Conv2d(14, 14, 96, 160)], n_shapes=400, seed=4)
    few = [MatMul(1, 100, 320), MatMul(1, 160, 90)]
    laws = MovedLaw.of_all(
        {label: fitted.law for label, fitted in fit(DONOR).labels.items()},
        {
            "conv2d.k1": (Shapes.of(many), np.array([_new_s(w) for w in many])),
            "matmul": (Shapes.of(few), np.array([_new_s(w) for w in few])),
        },
    )
    assert len(laws["conv2d.k1"].own_rows) == 150
    assert len(laws["matmul"].own_rows) == 2
    found_s = laws["matmul"].latency_s(Shapes.of(few))
    assert found_s == pytest.approx([_new_s(w) for w in few], rel=0.1)
