"""Whether another type pays: by measured rows, and by nothing else."""

from __future__ import annotations

import pytest

from latprof.errors import UsageError
from latprof.tables import LatencyTable, Payoff
from latprof.vocabulary import Measurement, Target
from latprof.workloads import Conv2d, MatMul, Workload

SHAPE = Conv2d(8, 8, 64, 64)


def table(*rows: tuple[Workload, float]) -> LatencyTable:
    target = Target("bench", "onnxruntime", "1.0")
    measured = (Measurement(workload=w, samples_s=((s, s), (s, s))) for w, s in rows)
    return LatencyTable(target, tuple(measured))


def pair(workload: Workload, ratio: float) -> list[tuple[Workload, float]]:
    return [(workload, 1e-3), (workload.with_dtype("int8"), ratio * 1e-3)]


def test_the_shape_itself_counts_where_it_was_measured() -> None:
    near = pair(Conv2d(8, 8, 64, 96), 1.5)
    assert table(*near, *pair(SHAPE, 0.4)).pays("int8", SHAPE) == Payoff(
        "yes", pytest.approx(0.4), 1, "measured at this shape"
    )
    slower = table(*near, *pair(SHAPE, 8.0)).pays("int8", SHAPE.with_dtype("int8"))
    assert (slower.verdict, bool(slower)) == ("no", False)
    assert not table(*pair(SHAPE, 0.99)).pays("int8", SHAPE)


def test_else_shapes_near_it_which_agree() -> None:
    one, two = pair(Conv2d(8, 8, 64, 96), 0.5), pair(Conv2d(8, 8, 32, 64), 0.125)
    found = table(*one, *two).pays("int8", SHAPE)
    assert (found.verdict, found.shapes) == ("yes", 2)
    assert found.ratio == pytest.approx(0.25)
    differing = table(*one, *pair(Conv2d(8, 8, 32, 64), 1.2)).pays("int8", SHAPE)
    assert differing.verdict == "unknown"
    assert "profile this one" in str(differing)


def test_what_was_not_measured_is_not_known() -> None:
    far = pair(Conv2d(8, 8, 256, 256), 0.1) + pair(MatMul(1, 64, 64), 0.1)
    alone: list[tuple[Workload, float]] = [(SHAPE, 1e-3), (Conv2d(4, 4, 64, 64), 1e-4)]
    for rows in (far, alone, pair(Conv2d(4, 4, 64, 64), 0.1)):
        found = table(*rows).pays("int8", SHAPE)
        assert (found.verdict, found.ratio, bool(found)) == ("unknown", None, False)


def test_a_gain_less_than_what_rounds_differ_by_is_none() -> None:
    spread = Measurement(workload=SHAPE, samples_s=((1e-3,), (1.4e-3,)))
    other = Measurement(workload=SHAPE.with_dtype("int8"), samples_s=((1e-3,), (1.1e-3,)))
    rows = LatencyTable(Target("bench", "onnxruntime", "1.0"), (spread, other))
    assert rows.pays("int8", SHAPE).verdict == "no"


def test_a_type_that_is_none_is_refused() -> None:
    with pytest.raises(UsageError, match="asked of 'int5'; expected one of float16"):
        table().pays("int5", SHAPE)


def test_weights_of_few_bits_pay_by_the_rows_that_they_multiply() -> None:
    one, eight = MatMul(1, 256, 256), MatMul(8, 256, 256)
    rows = [(one, 1e-3), (one.with_weight_bits(4), 0.4e-3)]
    rows += [(eight, 1e-3), (eight.with_weight_bits(4), 1.1e-3)]
    known = table(*rows)
    assert str(known.pays("int4", one)) == "yes, 0.40 of the time (measured at this shape)"
    assert known.pays("w4", one.with_weight_bits(4)).verdict == "yes"
    assert known.pays("int4", eight).verdict == "no"
    assert "--bits 8" in known.pays("w8", one).note
    assert known.pays("int4", SHAPE).verdict == "unknown"
    assert known.pays("int8", one).verdict == "unknown"


def test_two_of_four_weights_pay_where_it_was_measured() -> None:
    whole = MatMul(128, 1024, 1024)
    known = table((whole, 1e-3), (whole.with_pattern("2:4"), 0.7e-3))
    assert str(known.pays("2:4", whole)) == "yes, 0.70 of the time (measured at this shape)"
    assert known.pays("2:4", whole.with_pattern("2:4")).verdict == "yes"
    assert "--pattern 2:4" in table((whole, 1e-3)).pays("2:4", whole).note
