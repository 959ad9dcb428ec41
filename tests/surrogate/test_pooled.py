"""Convolutions of several kernel sizes with few rows each, and what Winograd computes."""

from __future__ import annotations

import numpy as np
import pytest
from support.tables import table_of

from latprof.surrogate import _fit, fit
from latprof.surrogate._shapes import Shapes
from latprof.surrogate.methods import WaveBase
from latprof.workloads import Conv2d

SIZES = np.array([8, 16, 24, 32, 48, 64, 96, 128, 192, 256])


def drawn(kernel: int, count: int, seed: int) -> list[Conv2d]:
    rng = np.random.default_rng([kernel, seed])
    sides = rng.choice([7, 14, 28], count).tolist()
    inputs, outputs = (rng.choice(SIZES, count).tolist() for _ in range(2))
    return [
        Conv2d(side, side, c_in, c_out, kernel)
        for side, c_in, c_out in zip(sides, inputs, outputs, strict=True)
    ]


@pytest.mark.parametrize("few", [3, 8])
def test_kernel_sizes_with_few_rows_lean_on_each_other(few: int) -> None:
    shapes = [*drawn(1, 40, 0), *drawn(3, few, 0), *drawn(5, few, 0), *drawn(7, few, 0)]
    known = list(dict.fromkeys(shapes))
    surrogate = fit(table_of(known, noise=0.0))
    assert surrogate.labels["conv2d.k5"].method == "pooled"
    assert surrogate.labels["conv2d.k1"].method != "pooled"  # its own rows are enough
    others = [w for w in dict.fromkeys(drawn(5, 40, 1)) if w not in known]
    alone = fit(table_of([w for w in known if w.kernel == 5], noise=0.0))

    def error(s) -> float:  # type: ignore[no-untyped-def]
        truth_s = np.array([m.latency_s for m in table_of(others, noise=0.0).usable])
        return float(np.abs(np.log(s.predict(others).latency_s / truth_s)).mean())

    assert error(surrogate) < 0.6 * error(alone)


def test_winograd_is_taken_where_it_is_faster() -> None:
    base = WaveBase.fit(Shapes.of(drawn(3, 60, 0)), np.full(60, 1e-4), (80,))
    near = [Conv2d(56, 56, 256, 256, kernel, batch=32) for kernel in (3, 5)]
    of_nine, of_25 = base.latency_s(Shapes.of(near))
    assert of_nine < of_25 * 9 / 25 * 0.8  # fewer products than a kernel of so many weights has
    strided = Conv2d(112, 112, 256, 256, 3, 2, batch=32)
    assert base.latency_s(Shapes.of([strided]))[0] > of_nine


def test_positions_are_counted_in_whole_blocks() -> None:
    shapes = [Conv2d(14, 14, 8, 8, 3), Conv2d(16, 16, 8, 8, 3), Conv2d(14, 14, 8, 8)]
    shapes += [Conv2d(14, 14, 8, 8, 3, 2), Conv2d(14, 14, 8, 8, 3, groups=8)]
    assert Shapes.of(shapes).blocks.tolist() == [(16 / 14) ** 2, 1, 1, 1, 1]


def test_kin_of_many_rows_that_score_no_row_of_a_kind_leave_it_to_the_roofline(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_fit, "_MAX_ROWS", 40)
    monkeypatch.setattr(_fit, "_MAX_SCORED", 1)
    known = list(dict.fromkeys([*drawn(1, 60, 0), *drawn(3, 2, 0)]))
    surrogate = fit(table_of(known, noise=0.0))
    assert surrogate.labels["conv2d.k3"].method == "roofline"
