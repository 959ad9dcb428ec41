"""Plans stay inside a model's ranges, keep to their number, and repeat."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.tables import OPS, TARGET, measured, table_of

from latprof.errors import UsageError
from latprof.surrogate import measure_adaptively
from latprof.tables import (
    PLAN_METHODS,
    AdaptivePlan,
    LatencyTable,
    families_of,
    family_text,
    paper_axis,
    plan,
)
from latprof.vocabulary._measurement import Measurement
from latprof.workloads import Conv2d, Elementwise, MatMul, Workload


@pytest.mark.parametrize("method", PLAN_METHODS)
@pytest.mark.parametrize("n_shapes", [len(OPS), 60, 400])
def test_every_plan_keeps_its_promises(method: str, n_shapes: int) -> None:
    shapes = plan(OPS, method=method, n_shapes=n_shapes, seed=3)
    assert len(shapes) == len(set(shapes)) <= n_shapes
    assert shapes == plan(OPS, method=method, n_shapes=n_shapes, seed=3)
    families = {f.member.family: f for f in families_of(OPS)}
    for shape in shapes:
        family = families[shape.family]
        assert 1 <= shape.channels[0] <= family.c_in
        assert 1 <= shape.channels[1] <= family.c_out
    assert {f.largest for f in families.values()} <= set(shapes)


def test_spread_visits_both_sides_of_steps_and_all_sizes() -> None:
    shapes = plan([Conv2d(14, 14, 512, 512)], n_shapes=200)
    c_out = np.array([w.channels[1] for w in shapes])
    assert len(shapes) == 200
    assert (c_out % 16 == 0).sum() > 20
    assert (c_out % 16 == 1).sum() > 20
    assert (c_out < 32).sum() > 10
    assert (c_out > 256).sum() > 30


def test_a_plan_says_what_it_cannot_do() -> None:
    with pytest.raises(UsageError, match="spread, paper, grid"):
        plan(OPS, method="best")
    with pytest.raises(UsageError, match="got none"):
        plan([])
    with pytest.raises(UsageError, match=f"at least {len(OPS)}"):
        plan(OPS, n_shapes=2)


def test_the_papers_axis_is_dense_at_the_top_and_halves_towards_it() -> None:
    # 100 - 4: midpoints of (0, 96], (48, 96], (72, 96].
    assert paper_axis(100, theta=4, midpoints=3) == [48, 72, 84, 97, 98, 99, 100]
    assert paper_axis(3, theta=8, midpoints=2) == [1, 2, 3]


@given(st.integers(1, 64), st.integers(1, 64), st.sampled_from([1, 2, 4]))
def test_grouped_and_depthwise_counts_are_legal(c_in: int, c_out: int, groups: int) -> None:
    grouped = families_of([Conv2d(7, 7, 64, 64, kernel=3, groups=groups)])[0]
    shape = grouped.at(c_in, c_out)
    assert shape.family == grouped.member.family
    depthwise = families_of([Conv2d(7, 7, 64, 64, kernel=3, groups=64)])[0]
    assert depthwise.at(c_in, c_out).family == depthwise.member.family


def test_families_are_named_as_people_say_them() -> None:
    assert family_text(Conv2d(14, 14, 8, 8, kernel=3, stride=2)) == "conv2d.k3 14x14 stride=2"
    assert family_text(Conv2d(7, 7, 8, 8, kernel=3, groups=8)) == "conv2d.depthwise.k3 7x7"
    assert family_text(MatMul(64, 8, 8)) == "matmul m=64"


def _device(shapes: Sequence[Workload]) -> list[Measurement]:
    return [measured(w, noise=0.005) for w in shapes]


def test_the_adaptive_plan_stops_at_its_number() -> None:
    ops = [Conv2d(14, 14, 256, 256)]
    adaptive = AdaptivePlan(ops, n_shapes=60, seed=1)
    table = measure_adaptively(adaptive, LatencyTable(TARGET), _device)
    assert adaptive.stopped_by == "shapes"
    assert len(table) == 60
    c_out = np.array([m.workload.channels[1] for m in table.measurements])
    assert {0, 1} <= set(c_out % 16)


def test_the_adaptive_plan_stops_at_its_error() -> None:
    adaptive = AdaptivePlan(OPS, n_shapes=400, target_error=0.05)
    table = measure_adaptively(adaptive, LatencyTable(TARGET), _device)
    assert adaptive.stopped_by == "error"
    assert len(table) < 400
    with pytest.raises(UsageError, match="expected a part"):
        AdaptivePlan(OPS, target_error=3)


def test_the_adaptive_plan_continues_a_table() -> None:
    asked: list[Workload] = []

    def device(shapes: Sequence[Workload]) -> list[Measurement]:
        asked.extend(shapes)
        return _device(shapes)

    adaptive = AdaptivePlan(OPS, n_shapes=40)
    known = table_of(adaptive.first)
    measure_adaptively(adaptive, known, device)
    assert not set(asked) & set(adaptive.first)


def test_theta_counts_at_the_top_are_all_measured() -> None:
    shapes = plan([Conv2d(14, 14, 64, 64)], method="paper", n_shapes=144, theta=9)
    outputs = sorted({shape.c_out for shape in shapes}, reverse=True)
    assert outputs[:9] == list(range(64, 55, -1))
    assert outputs[9:] == [48, 41, 28]
    assert {shape.c_in for shape in shapes} == set(outputs)
    with pytest.raises(UsageError, match="theta is 9 with method spread; expected 1 or more, with"):
        plan([Conv2d(14, 14, 64, 64)], theta=9)


@pytest.mark.parametrize(
    ("largest", "shapes"),
    [
        (Conv2d(32, 32, 3, 32, kernel=3, stride=2), 3 * 32),
        (Conv2d(16, 16, 32, 32, kernel=3, groups=32), 31),  # one channel is no depthwise one
        (Conv2d(16, 16, 12, 8, kernel=3, groups=4), 2),  # 8 or 12 to 8
        (Elementwise("relu", 4, 4, 7), 7),
    ],
    ids=str,
)
def test_a_small_family_ends_with_all_its_shapes(largest: Workload, shapes: int) -> None:
    found = plan([largest], n_shapes=10 * shapes)
    assert found[0] == largest
    assert len(found) == len(set(found)) == shapes
