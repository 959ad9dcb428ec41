"""fit: what it chooses, how sure it is, how ops become models."""

from __future__ import annotations

import itertools
import time
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from support.tables import OPS, TARGET, planned, table_of, truth_s, variants, whole

from latprof.errors import FitError, TableError, UsageError
from latprof.surrogate import COVERAGE, METHODS, HeldOut, compare, fit, plot_fit
from latprof.tables import LatencyTable, check, families_of, plan
from latprof.vocabulary import Measurement
from latprof.workloads import Conv2d, Elementwise, MatMul, Workload


def test_auto_takes_the_best_method_of_each_label() -> None:
    table = planned("grid", 240, noise=0.005)
    surrogate = fit(table)
    compared = compare(table)
    assert set(compared) == set(METHODS)
    best = compared["auto"]
    assert isinstance(best, HeldOut)
    for scored in compared.values():
        assert isinstance(scored, HeldOut)
        assert best.mape <= scored.mape + 1e-12
    assert {f.method for f in surrogate.labels.values()} <= set(METHODS)


def test_a_method_that_cannot_read_the_table_says_why() -> None:
    table = planned("spread")
    assert isinstance(compare(table)["pchip"], FitError)
    with pytest.raises(FitError, match="--method grid"):
        fit(table, method="pchip")
    with pytest.raises(UsageError, match="expected one of auto, tile"):
        fit(table, method="best")
    with pytest.raises(TableError, match="none is usable"):
        fit(LatencyTable(TARGET))
    with pytest.raises(FitError, match="4 usable rows"):
        compare(table_of(OPS))


def test_predictions_come_in_order_with_intervals_round_them() -> None:
    surrogate = fit(planned(), method="tile")
    predicted = surrogate.predict(OPS)
    assert predicted.warnings == ()
    np.testing.assert_allclose(predicted.latency_s, [truth_s(w) for w in OPS], rtol=0.06)
    assert np.all(predicted.lower_s < predicted.latency_s)
    assert np.all(predicted.latency_s < predicted.upper_s)
    turned = surrogate.predict(OPS[::-1])
    np.testing.assert_allclose(turned.latency_s, predicted.latency_s[::-1])
    assert surrogate.predict([]).latency_s.shape == (0,)


def test_intervals_cover_what_they_promise() -> None:
    ops = [Conv2d(14, 14, 256, 256), Conv2d(28, 28, 128, 128)]
    surrogate = fit(table_of(plan(ops, n_shapes=120), noise=0.02), method="tile")
    rng = np.random.default_rng(5)
    fresh = [f.at(*rng.integers(1, (f.c_in, f.c_out))) for f in families_of(ops) * 200]
    held_out = table_of(fresh, noise=0.02).usable
    predicted = surrogate.predict([m.workload for m in held_out])
    measured_s = np.array([m.latency_s for m in held_out])
    inside = (predicted.lower_s <= measured_s) & (measured_s <= predicted.upper_s)
    assert abs(inside.mean() - COVERAGE) < 0.05


def test_extrapolation_is_bounded_and_warned_of() -> None:
    surrogate = fit(planned(), method="tile")
    far = surrogate.predict([Conv2d(14, 14, 9600, 16000)])
    assert "c_in reaches 9600, measured up to 96" in far.warnings[0]
    assert 0.2 < far.latency_s[0] / truth_s(Conv2d(14, 14, 9600, 16000)) < 5
    wide = surrogate.predict([Elementwise("relu", 112, 112, 16)])
    assert "12544 to 12544 positions" in wide.warnings[0]
    blind = surrogate.predict([Elementwise("gelu", 14, 14, 64)])
    assert "no row in the table" in blind.warnings[0]
    assert 5 < blind.upper_s[0] / blind.latency_s[0] < 12
    assert all("\n" not in w for p in (far, wide, blind) for w in p.warnings)


def test_without_whole_models_ops_share_one_call_and_load_their_weights() -> None:
    surrogate = fit(planned(), method="tile")
    whole = surrogate.predict_model(OPS)
    alone_s = surrogate.predict(OPS).latency_s.sum()
    composition = surrogate.composition
    calls_s = (len(OPS) - 1) * composition.constant_s
    assert 1e-6 < composition.constant_s == -composition.per_op_s < 1.6e-6  # the truth's: 1.5 us
    weights = sum(w.weight_bytes - 4 * w.channels[1] for w in OPS if w.weight_count)
    loads_s = composition.per_byte_s[0] * weights
    assert 0 < loads_s < alone_s
    assert float(whole.latency_s) == pytest.approx(alone_s - calls_s + loads_s, rel=1e-3)
    assert whole.lower_s < whole.latency_s < whole.upper_s
    assert np.isnan(composition.mape)


def _waits_for_weights(workload: Workload) -> float:
    """Seconds alone of an op that is a call and the loading of its weights."""
    return 3e-6 + 2e-11 * workload.weight_bytes + 1e-11 * workload.activation_bytes


def test_ops_that_wait_for_their_weights_do_not_load_them_many_times_over() -> None:
    """In such a table arithmetic looks as slow as memory is."""
    full = [MatMul(1, 1024, 1024), Elementwise("relu", 1, 1, 1024)]
    rows = [
        Measurement(workload=w, samples_s=((_waits_for_weights(w),),))
        for w in plan(full, n_shapes=80)
    ]
    surrogate = fit(LatencyTable(TARGET, tuple(rows)))
    mlp = [MatMul(1, 784, 512), MatMul(1, 512, 512), MatMul(1, 512, 10)]
    calls_s = (len(mlp) - 1) * 3e-6
    measured_s = sum(map(_waits_for_weights, mlp)) - calls_s
    predicted = surrogate.predict_model(mlp)
    assert float(predicted.latency_s) < 1.4 * measured_s
    assert predicted.lower_s < measured_s < predicted.upper_s
    assert measured_s + calls_s < predicted.upper_s  # nor is their plain sum ruled out


def test_ops_timed_in_a_recorded_graph_keep_their_launches() -> None:
    table = replace(planned(), target=replace(TARGET, runtime="cuda"))
    surrogate = fit(table, method="tile")
    assert surrogate.composition.per_op_s == 0
    alone_s = surrogate.predict(OPS).latency_s.sum()
    assert alone_s <= surrogate.predict_model(OPS).latency_s < 1.4 * alone_s


def test_a_prediction_says_whether_whole_models_calibrate_it() -> None:
    alone, once = fit(planned()), fit(planned().with_models(variants(3)))
    assert not alone.predict_model(OPS).calibrated
    assert "no whole model of this target was measured" in alone.predict_model(OPS).note
    assert once.predict_model(OPS).calibrated
    assert once.predict_model(OPS).note == ""


def test_whole_models_calibrate_how_ops_add_up() -> None:
    table = planned(n_shapes=240, noise=0.0)
    models = variants(40)
    surrogate = fit(table.with_models(models[:20]), method="tile")
    composition = surrogate.composition
    assert len(composition.held_out) == 20
    assert composition.mape < 0.01 < composition.uncalibrated_mape
    errors = [
        float(surrogate.predict_model(m.workloads).latency_s) / m.latency_s - 1 for m in models[20:]
    ]
    assert np.abs(errors).mean() < 0.01
    covered = [
        p.lower_s <= m.latency_s <= p.upper_s
        for m in models[20:]
        for p in [surrogate.predict_model(m.workloads)]
    ]
    assert np.mean(covered) >= 0.8


def test_one_whole_model_is_enough_to_calibrate_a_little() -> None:
    models = variants(2, factor=1.5)
    alone, once = fit(planned()), fit(planned().with_models(models[:1]))
    for m in models:
        before = abs(float(alone.predict_model(m.workloads).latency_s) / m.latency_s - 1)
        after = abs(float(once.predict_model(m.workloads).latency_s) / m.latency_s - 1)
        assert after < before


def test_models_without_weights_calibrate_too() -> None:
    counts = (8, 24, 40, 64, 96)
    ops = [Elementwise(op, 14, 14, c) for op in ("add", "mul") for c in counts]
    models = [
        whole(f"#{c}", [Elementwise("add", 14, 14, c), Elementwise("mul", 14, 14, c)])
        for c in counts
    ]
    composition = fit(table_of(ops).with_models(models)).composition
    assert composition.mape < 0.1


def test_labels_with_few_rows_read_the_roofline_scaled_to_them() -> None:
    rows = [*plan(OPS[:1], n_shapes=30), MatMul(1, 160, 320)]
    surrogate = fit(table_of(rows))
    assert surrogate.labels["matmul"].method == "roofline"
    predicted = surrogate.predict([MatMul(1, 160, 320), MatMul(1, 100, 200)])
    assert predicted.latency_s[0] == pytest.approx(truth_s(MatMul(1, 160, 320)), rel=0.01)
    assert predicted.upper_s[1] > 1.15 * predicted.latency_s[1]


@pytest.mark.parametrize("slower", [1 / 10, 10.0])
@pytest.mark.parametrize("rows", [0, 1, 2, 3])
def test_intervals_of_kinds_with_few_rows_follow_from_their_number(
    rows: int, slower: float
) -> None:
    """Here one kind of op is ten times as fast, or as slow, as the table's others would have it."""
    known = [MatMul(1, 8 * n, 16 * n) for n in (4, 8, 16)[:rows]]
    asked = [MatMul(1, int(k), int(n)) for k in np.geomspace(8, 1024, 8) for n in (10, 100, 1000)]

    def alone_s(w: MatMul) -> float:
        return 1.5e-6 + slower * (truth_s(w) - 1.5e-6)

    few = [Measurement(workload=w, samples_s=((alone_s(w),),)) for w in known]
    others = table_of(plan(OPS[:4], n_shapes=80))
    surrogate = fit(others.with_measurements(few), method="tile")
    predicted = surrogate.predict(asked)
    measured_s = np.array([alone_s(w) for w in asked])
    inside = (predicted.lower_s <= measured_s) & (measured_s <= predicted.upper_s)
    assert inside.mean() >= 0.85
    (warning,) = (w for w in predicted.warnings if "in the table" in w)
    assert f"only {rows} row(s)" in warning or rows == 0
    assert "profile with this model" in warning


def test_more_rows_of_a_kind_narrow_its_interval() -> None:
    others = table_of(plan(OPS[:4], n_shapes=80))
    widths = []
    for n in (0, 1, 2, 3):
        few = table_of([MatMul(1, 40 * 4**i, 80 * 4**i) for i in range(n)]).measurements
        predicted = fit(others.with_measurements(few), method="tile").predict([MatMul(1, 200, 400)])
        widths.append(float(predicted.upper_s[0] / predicted.lower_s[0]))
    assert widths == sorted(widths, reverse=True)
    assert widths[0] > 4 * widths[-1]


def test_huge_sizes_cost_no_memory(tmp_path: Path) -> None:
    """Arrays are as long as the table, and not as an op is large."""
    huge = 300_000_000
    ops = [
        *(Conv2d(7, 7, c, huge // c) for c in (1, 8, 64, 512)),
        *(Conv2d(huge // n, 1, 8, 8 * n, kernel=3) for n in (1, 2, 3, 4)),
        *(Conv2d(9, 9, 8, n, kernel=huge // n, dilation=2) for n in (1, 2, 3, 4)),
        *(MatMul(1, 8 * n, huge // n) for n in range(1, 30)),
        *(Elementwise("relu", 1, huge // n, n) for n in (1, 2, 3, 4)),
    ]
    table = table_of(ops)
    tracemalloc.start()
    surrogate = fit(table)
    surrogate.predict_model(ops)
    surrogate.label_steps("matmul", families_of(ops))
    plot_fit(surrogate, table, tmp_path)
    plan(ops, n_shapes=100)
    check(table)
    assert tracemalloc.get_traced_memory()[1] < 200e6
    tracemalloc.stop()
    with pytest.raises(UsageError, match="300000000 channels"):
        surrogate.torch_module(ops[:1])


def test_more_rows_than_a_law_takes_score_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("latprof.surrogate._fit._MAX_ROWS", 60)
    table = table_of(plan([Conv2d(14, 14, 256, 256)], n_shapes=200), noise=0.01)
    fitted = fit(table, method="tile").labels["conv2d.k1"]
    assert fitted.held_out is not None
    assert (fitted.held_out.n_train, len(fitted.held_out.rows)) == (60, 140)
    assert fitted.held_out.mape < 0.05
    monkeypatch.setattr("latprof.surrogate._fit._MAX_IN_ALL", 100)
    other = table_of(plan([MatMul(1, 256, 256)], n_shapes=200)).measurements
    both = fit(table.with_measurements(other), method="tile")
    assert [f.held_out.n_train for f in both.labels.values() if f.held_out] == [50, 50]


@pytest.mark.slow
def test_fitting_fifty_thousand_rows_takes_less_than_a_minute() -> None:
    rng = np.random.default_rng(0)
    ops = [Conv2d(s, s, 512, 512) for s in (7, 14, 28, 56)]
    counts = rng.integers(1, 1025, (50_000, 2)).tolist()
    rows = {ops[i % 4].with_channels(*pair) for i, pair in enumerate(counts)}
    table = table_of(rows, noise=0.02)
    start_s = time.process_time()
    surrogate = fit(table)
    assert time.process_time() - start_s < 60  # 14 on a busy machine
    held_out = surrogate.labels["conv2d.k1"].held_out
    assert held_out is not None
    assert held_out.mape < 0.03


def test_fitting_two_thousand_rows_takes_seconds() -> None:
    ops = [Conv2d(s, s, 512, 512) for s in (7, 14, 28, 56)]
    table = table_of(plan(ops, n_shapes=2000), noise=0.01)
    start_s = time.process_time()  # what others do on this machine does not count
    fit(table, method="tile")
    assert time.process_time() - start_s < 20  # 5 on an idle core; see benchmarks


def test_the_same_seed_gives_the_same_fit() -> None:
    a, b = (fit(planned(), seed=4).predict(OPS) for _ in range(2))
    assert np.array_equal(a.latency_s, b.latency_s)
    assert np.array_equal(a.upper_s, b.upper_s)


def test_pictures_are_written(tmp_path: Path) -> None:
    table = planned("spread", 200).with_models(variants(6))
    paths = plot_fit(fit(table), table, tmp_path / "plots")
    assert [p.name for p in paths] == [
        "staircases.png", "heat_maps.png", "held_out.png", "models.png",
    ]  # fmt: skip
    assert all(p.stat().st_size > 10_000 for p in paths)
    few = replace(table, measurements=table.measurements[:2], models=())
    assert plot_fit(fit(few), few, tmp_path / "few") == []


@pytest.mark.parametrize("span", [1.5, 5, 40])
def test_tick_labels_do_not_overlap(
    span: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: drawn.append(figure))
    factors = np.geomspace(1, span, 6)
    models = [whole(f"m{n}", OPS, factor) for n, factor in enumerate(factors)]
    table = planned("spread", 200).with_models(models)
    plot_fit(fit(table), table, tmp_path)
    assert len(drawn) == 4
    for figure in drawn:
        FigureCanvasAgg(figure).draw()
        for axis in (axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)):
            low, high = sorted(axis.get_view_interval())
            labels = [t for t in axis.get_ticklabels(which="both") if t.get_text()]
            places = [t.get_position()[axis.axis_name == "y"] for t in labels]
            shown = [t for t, p in zip(labels, places, strict=True) if low <= p <= high]
            boxes = [t.get_window_extent() for t in shown]
            assert len(boxes) >= 2 or not axis.get_label_text()
            assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))
