"""What Law promises, of every method."""

from __future__ import annotations

import numpy as np
import pytest
from support.tables import OPS, TARGET, planned, table_of

from latprof.errors import FitError
from latprof.surrogate import fit
from latprof.surrogate._fit import LAWS
from latprof.surrogate._shapes import Floats, Shapes
from latprof.surrogate.methods._base import PhysicalBase
from latprof.surrogate.methods._law import Law
from latprof.surrogate.methods._roofline import RooflineLaw
from latprof.surrogate.methods._tile import TileLaw
from latprof.surrogate.methods._waves import WaveBase
from latprof.tables import LatencyTable, families_of, plan
from latprof.vocabulary import Measurement
from latprof.workloads import Conv2d, Elementwise, MatMul, Workload

EVERY: dict[str, type[Law]] = {**LAWS, "roofline": RooflineLaw}
METHODS = pytest.mark.parametrize("method", EVERY)
LABELS = pytest.mark.parametrize("label", sorted({w.label for w in OPS}))

_GRID = planned("grid", 240)


def _rows(table: LatencyTable, label: str) -> tuple[Shapes, Floats]:
    rows = [m for m in table.usable if m.workload.label == label]
    return Shapes.of([m.workload for m in rows]), np.array([m.latency_s for m in rows])


@METHODS
@LABELS
def test_a_law_keeps_its_promises(method: str, label: str) -> None:
    shapes, latency_s = _rows(_GRID, label)
    law = EVERY[method].fit(shapes, latency_s, seed=1)
    for family in families_of([w for w in OPS if w.label == label]):
        for scale in (1.0, 3.0, 10.0):
            counts = np.unique(np.geomspace(1, scale * family.c_out, 40).round())
            c_in = counts if family.tied else np.unique(np.linspace(1, scale * family.c_in, 40))
            n = min(len(counts), len(c_in))
            asked = Shapes.at(family.member, c_in[:n], counts[:n])
            predicted = law.latency_s(asked)
            assert np.all(np.isfinite(predicted) & (predicted > 0))
            assert np.array_equal(predicted, law.latency_s(asked))
            assert np.all(law.spread(asked) > 0)
        for axis, limit in ((0, family.c_in), (1, family.c_out)):
            knots = law.knots(family.largest, axis, limit)
            assert (knots[0], knots[-1]) == (1, limit)
            assert np.all(np.diff(knots) > 0)
    error = np.abs(np.log(law.latency_s(shapes) / latency_s)).mean()
    if method != "roofline":  # drawn to a typical core's proportions, whatever the rows say
        assert error <= np.abs(np.log(np.median(latency_s) / latency_s)).mean() + 1e-9
    doubled = EVERY[method].fit(shapes, 2 * latency_s, seed=1)
    np.testing.assert_allclose(doubled.latency_s(shapes), 2 * law.latency_s(shapes), rtol=0.01)
    again = law.refit(shapes, latency_s)
    if method in ("gp", "blend"):  # whose weights are searched for, each time from where they were
        np.testing.assert_allclose(again.latency_s(shapes), law.latency_s(shapes), rtol=0.02)
    elif method != "roofline":  # whose refit scales it to one label
        np.testing.assert_allclose(again.latency_s(shapes), law.latency_s(shapes), rtol=1e-6)


@pytest.mark.parametrize("method", ["linear", "cubic", "pchip"])
def test_interpolation_returns_the_rows_it_was_given(method: str) -> None:
    for label in sorted({w.label for w in OPS}):
        shapes, latency_s = _rows(_GRID, label)
        law = EVERY[method].fit(shapes, latency_s)
        np.testing.assert_allclose(law.latency_s(shapes), latency_s, rtol=1e-9)


def test_linear_is_the_papers_equation() -> None:
    table = table_of(plan([Conv2d(14, 14, 64, 96)], method="paper", n_shapes=81))
    shapes, latency_s = _rows(table, "conv2d.k1")
    measured = {(i, o): s for i, o, s in zip(shapes.c_in, shapes.c_out, latency_s, strict=True)}
    law = EVERY["linear"].fit(shapes, latency_s)
    d1, e1 = np.unique(shapes.c_in)[-3:-1]
    d2, e2 = np.unique(shapes.c_out)[-3:-1]
    assert (e1, e2) == (d1 + 1, d2 + 1)  # the dense end of the plan: neighboring counts
    for x, y in ((d1 + 0.3, d2 + 0.8), (d1 + 0.5, d2), (d1, d2 + 0.1)):
        t1 = measured[d1, d2] + (measured[e1, d2] - measured[d1, d2]) * (x - d1)
        t2 = measured[d1, e2] + (measured[e1, e2] - measured[d1, e2]) * (x - d1)
        expected = t1 + (t2 - t1) * (y - d2)
        asked = Shapes.at(Conv2d(14, 14, 64, 96), np.array([x]), np.array([y]))
        np.testing.assert_allclose(law.latency_s(asked), expected, rtol=1e-12)


def test_tile_finds_the_stairs_and_beats_interpolation_off_the_grid() -> None:
    ops = [Conv2d(14, 14, 256, 256), Conv2d(28, 28, 128, 128)]
    train, test = (table_of(plan(ops, n_shapes=100, seed=s), noise=0.01) for s in (0, 7))
    shapes, latency_s = _rows(train, "conv2d.k1")
    asked, truth_s = _rows(test, "conv2d.k1")
    errors = {
        name: np.abs(LAWS[name].fit(shapes, latency_s).latency_s(asked) / truth_s - 1).mean()
        for name in ("tile", "linear", "cubic")
    }
    assert errors["tile"] < 0.015  # the noise is 1%
    assert errors["tile"] < 0.5 * min(errors["linear"], errors["cubic"])
    law = LAWS["tile"].fit(shapes, latency_s)
    assert np.all(np.diff(law.knots(ops[0], 1, 256)[1:]) == 16)


def test_pchip_says_that_it_needs_a_grid() -> None:
    shapes, latency_s = _rows(planned("spread"), "conv2d.k1")
    with pytest.raises(FitError, match="--method grid"):
        LAWS["pchip"].fit(shapes, latency_s)


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_few_rows_are_enough_for_a_law(rows: int) -> None:
    table = table_of([Elementwise("relu", 7, 7, c) for c in (8, 64, 96)[:rows]])
    shapes, latency_s = _rows(table, "elementwise.relu")
    for method in EVERY.values():
        predicted = method.fit(shapes, latency_s).latency_s(shapes)
        assert np.all(np.abs(predicted / latency_s - 1) < 0.5)


def test_shapes_say_what_the_workloads_say() -> None:
    for workload in OPS:
        shapes = Shapes.of([workload, workload])
        assert shapes.macs[1] == workload.macs
        assert shapes.in_bytes[0] + shapes.out_bytes[0] == pytest.approx(
            workload.activation_bytes, rel=0.02
        )
        if workload.weight_count:
            bias = 4 * workload.channels[1]
            assert shapes.weight_bytes[0] == workload.weight_bytes - bias
        c_in, c_out = (np.array([float(c)]) for c in workload.channels)
        at = Shapes.at(workload, c_in, c_out)
        for name in ("family", "macs", "groups", "m_in", "m_out", "depth"):
            assert getattr(at, name)[0] == getattr(shapes, name)[0]
        moved = at.with_counts(np.stack([c_in, c_out], axis=1) + 4)
        if workload.tied:
            again = Shapes.of([workload.with_channels(*(c + 4 for c in workload.channels))])
            assert moved.macs[0] == again.macs[0]


def test_two_regimes_of_one_op_are_told_apart() -> None:
    """As ONNX Runtime's depthwise convolution: other code where channels fill no vector."""
    op = Conv2d(14, 14, 96, 96, kernel=3, groups=96)
    counts = np.unique(np.random.default_rng(0).integers(2, 97, 60)).astype(float)
    shapes = Shapes.at(op, counts, counts)
    seconds = np.where(counts % 4 == 0, 3e-6 + 1e-8 * counts, 3e-6 + 3e-7 * counts)
    law = EVERY["tile"].fit(shapes[::2], seconds[::2])
    errors = law.latency_s(shapes) / seconds - 1
    assert np.abs(errors).max() < 0.05


def test_few_rows_show_no_tiles_and_no_regimes() -> None:
    counts = np.array([8.0, 12.0, 17.0, 30.0, 33.0, 48.0, 57.0, 64.0])
    shapes = Shapes.at(Elementwise("add", 14, 14, 64), counts, counts)
    base = PhysicalBase.fit(shapes, 1e-6 + 1e-8 * counts)
    assert (base.alignment, base.aligned.tiles) == ((1, 1), (1, 1))


def _many_processors(shapes: Shapes, processors: int) -> Floats:
    """Seconds of a device that a law of waves describes."""
    weights = np.log([6e-12, 2e-10, 5e-8, 1e-7, 2e-12, 4e-12, 8e-6, 1.5])
    return WaveBase(processors, weights, weights).latency_s(shapes)


@pytest.mark.parametrize("processors", [20, 80, 132])
def test_many_processors_are_counted_and_their_waves_foretold(processors: int) -> None:
    rng = np.random.default_rng(processors)

    def some(n: int) -> Shapes:
        counts = 2 ** rng.uniform(3, 11, (n, 2))
        sides = rng.integers(4, 57, n)
        return Shapes.of([
            Conv2d(int(s), int(s), int(a), int(b)) for s, (a, b) in zip(sides, counts, strict=True)
        ])  # fmt: skip

    known, new = some(100), some(400)
    timed = _many_processors(known, processors) * np.exp(0.02 * rng.standard_normal(100))
    law = TileLaw.fit(known, timed)
    assert isinstance(law.base, WaveBase)
    assert 0.8 <= law.base.processors / processors <= 1.25
    error = np.abs(law.latency_s(new) / _many_processors(new, processors) - 1)
    assert (error <= 0.1).mean() > 0.9


def _kinds_of_a_gpu(rows: int, processors: int) -> list[Workload]:
    """So many shapes of each of six kinds of op."""
    rng = np.random.default_rng(processors)
    shapes: list[Workload] = []
    for kernel in (1, 3, 5, 7):
        for _ in range(rows):
            a, b, side = (int(n) for n in (*(2 ** rng.uniform(4, 10, 2)), rng.integers(7, 57)))
            shapes.append(Conv2d(side, side, a, b, kernel=kernel))
    for m in (1, 256):
        shapes += [MatMul(m, *(int(n) for n in 2 ** rng.uniform(5, 12, 2))) for _ in range(rows)]
    return shapes


def test_kinds_of_few_rows_share_the_base_of_many_processors() -> None:
    """A model's profile has many kinds of op, and no kind the rows to show waves alone."""

    def table(rows: int, seed: int) -> LatencyTable:
        ops = _kinds_of_a_gpu(rows, seed)
        seconds = _many_processors(Shapes.of(ops), 80)
        seconds *= np.exp(0.02 * np.random.default_rng(seed).standard_normal(len(ops)))
        return LatencyTable(
            TARGET,
            tuple(
                Measurement(workload=w, samples_s=((float(s),),))
                for w, s in zip(ops, seconds, strict=True)
            ),
        )

    known, new = table(20, 1), table(60, 2)
    surrogate = fit(known, method="tile")
    bases = [f.law.base for f in surrogate.labels.values() if isinstance(f.law, TileLaw)]
    assert sum(isinstance(base, WaveBase) for base in bases) >= 4
    measured_s = np.array([m.latency_s for m in new.usable])
    predicted_s = surrogate.predict([m.workload for m in new.usable]).latency_s
    apart = [fit(LatencyTable(TARGET, tuple(m for m in known.usable if m.workload.label == label)))
             for label in surrogate.labels]  # fmt: skip
    of_label = dict(zip(surrogate.labels, apart, strict=True))
    alone_s = np.array([of_label[m.workload.label].predict([m.workload]).latency_s[0]
                        for m in new.usable])  # fmt: skip
    error, error_alone = (np.abs(np.log(p / measured_s)).mean() for p in (predicted_s, alone_s))
    assert error < 0.08
    assert error < 0.7 * error_alone


def test_a_processors_many_kinds_are_not_taken_for_a_gpus() -> None:
    surrogate = fit(planned(), method="tile")
    for fitted in surrogate.labels.values():
        assert isinstance(fitted.law, RooflineLaw) or isinstance(fitted.law.base, PhysicalBase)


def test_one_processor_is_not_taken_for_many() -> None:
    law = TileLaw.fit(*_rows(_GRID, "conv2d.k1"))
    assert isinstance(law.base, PhysicalBase)


def test_a_wave_law_scales_with_its_table_and_is_positive_anywhere() -> None:
    shapes = Shapes.of([Conv2d(s, s, 2**k, 2**n) for s in (7, 28, 56) for k in range(3, 10)
                        for n in range(3, 10)])  # fmt: skip
    latency_s = _many_processors(shapes, 80)
    law, doubled = WaveBase.fit(shapes, latency_s), WaveBase.fit(shapes, 2 * latency_s)
    np.testing.assert_allclose(doubled.latency_s(shapes), 2 * law.latency_s(shapes), rtol=0.01)
    for odd in (MatMul(1, 4000, 4000), Conv2d(7, 7, 64, 64, kernel=5, stride=2, groups=64),
                Elementwise("relu", 7, 7, 1)):  # fmt: skip
        read = law.latency_s(Shapes.of([odd]))
        assert np.all(np.isfinite(read) & (read > 0))


def test_the_wave_law_draws_outliers_in() -> None:
    shapes = Shapes.of([Conv2d(28, 28, 64, 8 * n) for n in range(1, 61)])
    latency_s = _many_processors(shapes, 80)
    law = WaveBase.fit(shapes, latency_s)
    off = latency_s * np.where(np.arange(60) == 30, 3.0, 1.0)
    assert law.log_residual(shapes, off)[30] < 0.5 * np.log(3)
