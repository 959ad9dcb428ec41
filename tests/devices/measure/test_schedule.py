"""The scheduler's laws, on a device whose truth is known."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latprof.devices import (
    BackgroundLoad,
    Event,
    FakeDevice,
    Reading,
    ScheduleSettings,
    SentinelTimes,
    compare_files,
    measure_files,
    mostly_failed,
    open_device,
    profile,
)
from latprof.devices.measure import _profile
from latprof.errors import DeviceLostError, UsageError, WorkloadError
from latprof.workloads import Conv2d, MatMul, Workload

QUICK = ScheduleSettings(pause_s=1e-9)
CONVS = [Conv2d(14, 14, 32, 8 + 7 * i) for i in range(40)]


def run(
    device: FakeDevice,
    workloads: list[Conv2d] = CONVS,
    settings: ScheduleSettings = QUICK,
    journal: Path | None = None,
) -> dict[Workload, object]:
    rows = list(profile(device, workloads, settings=settings, journal=journal))
    assert Counter(row.workload for row in rows) == Counter(set(workloads))
    return {row.workload: row for row in rows}


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 999),
    process_noise=st.floats(0, 0.03),
    sample_noise=st.floats(0, 0.2),
    batch=st.integers(1, 50),
)
def test_every_workload_is_measured_once_and_near_its_law(
    seed: int, process_noise: float, sample_noise: float, batch: int
) -> None:
    device = FakeDevice(seed=seed, process_noise=process_noise, sample_noise=sample_noise)
    plan = ScheduleSettings(batch=batch, seed=seed, pause_s=1e-9)
    for row in profile(device, CONVS[:12], settings=plan):
        assert row.status in ("ok", "noisy")
        # p20 of an exponential tail lies 0.22 of its mean above the law.
        assert row.latency_s == pytest.approx(
            device.law_s(row.workload), rel=0.003 + 2.5 * process_noise + 0.6 * sample_noise
        )


def test_an_idle_device_is_measured_exactly_in_the_fewest_rounds() -> None:
    device = FakeDevice(seed=3)
    for workload, row in run(device).items():
        assert row.latency_s == pytest.approx(device.law_s(workload), rel=1e-12)
        assert len(row.samples_s) == QUICK.min_rounds


def test_the_law_climbs_stairs() -> None:
    device = FakeDevice(stair=16)
    below, at, above = (device.law_s(Conv2d(14, 14, 64, c)) for c in (63, 64, 65))
    assert below < at < above
    assert above - at > 5 * (at - below)


def test_rounds_are_fresh_processes_and_orders_differ() -> None:
    device = FakeDevice()
    run(device)
    count = len(CONVS)
    rounds = [device.log[i : i + count] for i in range(0, len(device.log), count)]
    assert len(rounds) == QUICK.min_rounds
    assert len({tuple(r) for r in rounds}) == len(rounds)
    assert all(set(r) == set(CONVS) for r in rounds)


def test_noise_that_does_not_converge_is_flagged() -> None:
    rows = run(
        FakeDevice(process_noise=0.2), settings=ScheduleSettings(pause_s=1e-9, max_slowdown=9)
    )
    noisy = [row for row in rows.values() if row.status == "noisy"]
    assert len(noisy) > len(rows) / 2
    assert all("standard error" in row.detail for row in noisy)
    assert all(len(row.samples_s) == QUICK.max_rounds for row in noisy)


@pytest.mark.parametrize("slower", [1.15, 1.5, 3.0])
def test_throttled_readings_are_taken_again(slower: float) -> None:
    loads = [BackgroundLoad(0.5, 0.9, slower), BackgroundLoad(1.4, 1.8, slower)]
    device = FakeDevice(loads=loads)
    for workload, row in run(device).items():
        assert row.status == "ok"
        assert row.latency_s == pytest.approx(device.law_s(workload), rel=1e-9)
        kept = np.array([np.median(r) for r in row.samples_s]) / device.law_s(workload)
        assert kept.max() < 1.1


def test_a_run_that_begins_throttled_learns_what_idle_is() -> None:
    device = FakeDevice(loads=[BackgroundLoad(0.0, 0.6, 1.4)])
    for workload, row in run(device).items():
        assert row.status == "ok"
        assert max(max(r) for r in row.samples_s) == pytest.approx(device.law_s(workload))


def test_preemption_is_noticed_without_a_sentinel() -> None:
    """The 20th percentile of a preempted timing looks idle; its share of the core does not."""
    device = FakeDevice(loads=[BackgroundLoad(0.5, 1.0, slowdown=1.0, core_share=0.5)])
    events: list[Event] = []
    list(profile(device, CONVS, settings=QUICK, on_event=events.append))
    assert sum(e.kind == "discarded" for e in events) >= 0.45 / QUICK.round_s


def test_preemption_all_along_is_flagged_and_used_where_the_rounds_agree() -> None:
    device = FakeDevice(loads=[BackgroundLoad(0.0, 1e9, core_share=0.4)])
    rows = run(device, CONVS[:5])
    assert {row.status for row in rows.values()} == {"noisy"}
    assert all("8 preempted, 0 kept; the rounds agree" in r.detail for r in rows.values())
    assert all(row.usable for row in rows.values())


def test_preemption_all_along_is_not_used_where_the_rounds_disagree() -> None:
    device = FakeDevice(loads=[BackgroundLoad(0.0, 1e9, core_share=0.4)], process_noise=0.3)
    rows = run(device, CONVS[:5], ScheduleSettings(pause_s=1e-9, max_slowdown=9))
    assert {row.status for row in rows.values()} == {"throttled"}
    assert not any(row.usable for row in rows.values())


def test_throttling_without_end_is_flagged_not_looped() -> None:
    """The first second is idle, so the baseline is known; from then on it is slow for good."""
    device = FakeDevice(loads=[BackgroundLoad(0.4, 1e9, slowdown=1.5)])
    rows = run(device, CONVS, ScheduleSettings(pause_s=1e-9))
    assert "throttled" in {row.status for row in rows.values()}
    for workload, row in rows.items():
        if row.usable:
            assert row.latency_s == pytest.approx(device.law_s(workload))


def test_a_device_that_stays_a_little_slower_is_flagged_and_used() -> None:
    """One idle round sets the baseline; from then on the device is 1.15x slower for good."""
    device = FakeDevice(loads=[BackgroundLoad(7 * QUICK.round_s, 1e9, slowdown=1.15)])
    for workload, row in run(device, CONVS[:5]).items():
        assert row.status == "noisy"
        assert "the throttled ones agree, at a slowdown of 1.15" in row.detail
        assert np.median(row.slowdown) == pytest.approx(1.15)
        assert row.latency_s == pytest.approx(device.law_s(workload))


class Ticking(FakeDevice):
    """Its own clock is the run's, so that what a run spends is known to the second."""

    def round(self, jobs, *, measure_s, budget=None):  # type: ignore[no-untyped-def]
        for reading in super().round(jobs, measure_s=measure_s):
            if budget is not None:
                self.left_s.append(budget.left_s)
            yield reading


def test_waiting_is_at_most_a_share_of_measuring(monkeypatch: pytest.MonkeyPatch) -> None:
    """A load that never ends: pauses grow no further than the budget, and the run says so."""
    device = Ticking(loads=[BackgroundLoad(len(CONVS) * 0.0075, 1e9, slowdown=1.5)])
    device.left_s = []
    paused_s: list[float] = []

    def pause(seconds: float) -> None:
        paused_s.append(seconds)

    monkeypatch.setattr(_profile.time, "sleep", pause)
    monkeypatch.setattr(_profile.time, "monotonic", lambda: device.clock_s + sum(paused_s))
    events: list[Event] = []
    rows = list(
        profile(device, CONVS, settings=ScheduleSettings(pause_s=0.5), on_event=events.append)
    )
    last = events[-1].conditions
    assert {row.status for row in rows} <= {"throttled", "noisy"}
    assert 0 < sum(paused_s) <= 0.15 * device.clock_s * (1 + 1e-9)
    assert last.waited_s == pytest.approx(sum(paused_s))
    assert last.measured_s == pytest.approx(device.clock_s)
    assert last.readings == device.readings
    assert last.throttled == last.beside_load > 0.9 * last.readings
    assert f"{last.beside_load:,} of {last.readings:,} readings were taken beside" in str(last)
    assert max(device.left_s) <= 0.15 * device.clock_s * (1 + 1e-9)


def test_nothing_is_waited_for_where_the_pause_is_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_profile.time, "sleep", lambda s: pytest.fail("slept"))
    device = Ticking(loads=[BackgroundLoad(0.1, 1e9, slowdown=1.5)])
    device.left_s = []
    list(profile(device, CONVS[:5], settings=ScheduleSettings(pause_s=0.0)))
    assert set(device.left_s) == {0.0}


def test_an_idle_run_has_nothing_to_say_of_its_conditions() -> None:
    events: list[Event] = []
    list(profile(FakeDevice(), CONVS[:3], settings=QUICK, on_event=events.append))
    assert str(events[-1].conditions) == ""
    assert events[-1].conditions.readings == 3 * QUICK.min_rounds


def test_a_run_with_most_rows_failed_is_known() -> None:
    device = FakeDevice(refuses=lambda job: job in CONVS[:6])
    assert not mostly_failed(list(profile(device, CONVS[:12], settings=QUICK)))
    assert mostly_failed(list(profile(device, CONVS[:11], settings=QUICK)))


def test_load_most_of_the_time_is_measured_around() -> None:
    """Every fourth round is idle: its readings alone make the rows."""
    round_s, half_s = len(CONVS) * QUICK.round_s, QUICK.round_s / 2
    ends_s = [(4 * i + 4) * round_s - half_s for i in range(20)]
    loads = [BackgroundLoad(end_s - 3 * round_s + 2 * half_s, end_s, 1.3) for end_s in ends_s]
    device = FakeDevice(loads=loads)
    for workload, row in run(device).items():
        assert row.usable
        assert row.latency_s == pytest.approx(device.law_s(workload))


def test_rows_are_corrected_for_a_clock_that_drifts() -> None:
    device = FakeDevice(drift=0.02)
    for workload, row in run(device).items():
        taken_s = np.median([np.percentile(r, 20) for r in row.samples_s])
        assert taken_s > 1.01 * device.law_s(workload)  # samples stay as they were taken
        assert row.latency_s == pytest.approx(device.law_s(workload), rel=0.002)
        assert row.spread < 0.001


def test_a_sentinel_that_alone_was_slow_is_ignored() -> None:
    """Every seventh moment between two readings is slow, and no reading is."""
    moments = [7 * QUICK.round_s * n for n in range(1, 99)]
    device = FakeDevice(loads=[BackgroundLoad(t - 1e-9, t + 1e-9, slowdown=1.08) for t in moments])
    seen = {r.sentinel_s for r in device.round(CONVS, measure_s=QUICK.round_s)}
    assert max(seen) == pytest.approx(1.08 * min(seen))
    for workload, row in run(device).items():
        assert row.slowdown == pytest.approx([1.0] * len(row.slowdown))
        assert row.latency_s == pytest.approx(device.law_s(workload), rel=1e-6)


def test_a_refused_workload_is_a_failed_row_and_the_rest_is_measured() -> None:
    device = FakeDevice(refuses=lambda job: job == CONVS[3])
    rows = run(device)
    assert rows[CONVS[3]].status == "failed"
    assert "refuses" in rows[CONVS[3]].detail
    assert all(row.status == "ok" for w, row in rows.items() if w != CONVS[3])


def test_a_refused_sentinel_stops_the_run() -> None:
    with pytest.raises(WorkloadError, match="sentinel"):
        run(FakeDevice(refuses=lambda job: job == FakeDevice().sentinel))


@pytest.mark.parametrize("fault", ["die", "hang", "garbage"])
def test_single_faults_cost_nothing(fault: str) -> None:
    device = FakeDevice(faults={5: fault, 60: fault, 111: fault, 112: fault})
    assert all(row.status == "ok" for row in run(device).values())


def test_a_workload_that_kills_its_process_is_given_up() -> None:
    class Fragile(FakeDevice):
        def round(self, jobs, *, measure_s, budget=None):  # type: ignore[no-untyped-def]
            for job in jobs:
                if job == CONVS[7]:
                    raise DeviceLostError("fragile: killed by SIGSEGV")
                yield from super().round([job], measure_s=measure_s)

    rows = run(Fragile())
    assert rows[CONVS[7]].status == "failed"
    assert "SIGSEGV" in rows[CONVS[7]].detail
    assert sum(row.status == "ok" for row in rows.values()) == len(CONVS) - 1


def test_a_dead_device_is_lost_after_three_empty_rounds() -> None:
    device = FakeDevice(faults=dict.fromkeys(range(30, 99), "die"))
    with pytest.raises(DeviceLostError):
        run(device)
    assert device.readings == 30 + 1 + 3


def test_progress_never_goes_back_to_the_start_and_ends_at_one() -> None:
    events: list[Event] = []
    list(profile(FakeDevice(), CONVS, settings=QUICK, on_event=events.append))
    assert [e.done for e in events] == sorted(e.done for e in events)
    assert events[-1].done == events[-1].total == len(CONVS)
    assert events[-1].fraction == pytest.approx(1.0)
    assert all(e.eta_s >= 0 for e in events)


def test_duplicates_are_measured_once() -> None:
    assert len(run(FakeDevice(), [CONVS[0], CONVS[1], CONVS[0]])) == 2


def test_files_are_measured_interleaved_and_answered_in_order(tmp_path: Path) -> None:
    small, large = tmp_path / "small.onnx", tmp_path / "large.onnx"
    small.write_bytes(b"x" * 100_000)
    large.write_bytes(b"x" * 200_000)
    device = FakeDevice()
    timings = measure_files(device, [large, small, large], settings=QUICK)
    assert [t.latency_s for t in timings] == pytest.approx(
        [device.law_s(large), device.law_s(small), device.law_s(large)]
    )


def test_files_are_timed_again_where_the_memory_was_contended(files: list[Path]) -> None:
    loads = [BackgroundLoad(0.1 * i, 0.1 * i + 0.03, memory_slowdown=1.5) for i in range(1, 30)]
    device = FakeDevice(loads=loads)
    timings = measure_files(device, files)
    assert [t.latency_s for t in timings] == pytest.approx([device.law_s(f) for f in files])
    assert device.readings > 2 * ScheduleSettings.min_rounds


def test_memory_that_is_contended_for_good_is_flagged_and_used(files: list[Path]) -> None:
    """One idle round tells what the memory can do; from then on it takes twice as long."""
    device = FakeDevice(loads=[BackgroundLoad(0.05, 1e9, memory_slowdown=2.0)])
    for timing in measure_files(
        device, files, settings=ScheduleSettings(round_s=0.02, pause_s=9.0)
    ):
        assert timing.status == "noisy"
        assert "8 memory-contended, 1 kept; the rounds agree" in timing.detail
        assert timing.usable
    assert device.readings <= 2 * (1 + ScheduleSettings.min_discards)


def test_files_are_timed_more_often_where_the_rounds_disagree(files: list[Path]) -> None:
    rounds, errors = [], []
    for seed in range(8):
        device = FakeDevice(process_noise=0.06, seed=seed)
        for file, timing in zip(files, measure_files(device, files), strict=True):
            assert timing.usable
            rounds.append(len(timing.samples_s))
            errors.append(abs(timing.latency_s / device.law_s(file) - 1))
    assert np.median(rounds) > ScheduleSettings.max_rounds
    assert np.median(errors) < 0.03  # of one round: 0.04


def test_disagreement_beside_contended_memory_ends(files: list[Path]) -> None:
    device = FakeDevice(process_noise=0.5, loads=[BackgroundLoad(0.05, 1e9, memory_slowdown=2.0)])
    for timing in measure_files(device, files):
        assert timing.status == "noisy"
        assert "used all the same" in timing.detail
    assert 2 * 24 <= device.readings < 2 * 32


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    found = [tmp_path / "large.onnx", tmp_path / "small.onnx"]
    for path, size in zip(found, (200_000, 100_000), strict=True):
        path.write_bytes(b"x" * size)
    return found


def readings_of(rounds: int) -> int:
    """Of two files: three passes in the first round, and six in each of the others."""
    return 2 * (3 + 6 * (rounds - 1))


def load(kind: str) -> list[BackgroundLoad]:
    """Of rounds of twelve readings of 0.02 s each, after a first one of six."""
    if kind == "none":
        return []
    if kind == "slow all along":
        return [BackgroundLoad(0.0, 1e9, 1.4)]
    if kind == "slow in the end":
        return [BackgroundLoad(0.361, 1e9, 1.4)]
    # Every other round, eight of its readings are slow.
    spells = [(0.48 * i + 0.121, 0.48 * i + 0.281) for i in range(20)]
    if kind == "memory now and then":
        return [BackgroundLoad(*spell, memory_slowdown=1.5) for spell in spells]
    return [BackgroundLoad(*spell, slowdown=3.0) for spell in spells]


@pytest.mark.parametrize(
    "kind", ["none", "slow all along", "slow in the end", "now and then", "memory now and then"]
)
def test_files_are_compared_beside_the_same_load(files: list[Path], kind: str) -> None:
    device = FakeDevice(loads=load(kind))
    true = device.law_s(files[1]) / device.law_s(files[0])
    assert compare_files(device, files) == pytest.approx([1.0, true], rel=1e-9)
    assert device.readings <= readings_of(20)


def test_a_comparison_goes_on_until_the_rounds_agree(files: list[Path]) -> None:
    """Noise of 2% in each timing: 1.9% in the ratio of a round, after nine rounds 0.7%."""
    errors, readings = [], []
    random.seed(0)  # of the order within a round
    for seed in range(8):
        device = FakeDevice(process_noise=0.02, seed=seed)
        ratio = compare_files(device, files)[1]
        errors.append(ratio * device.law_s(files[0]) / device.law_s(files[1]) - 1)
        readings.append(device.readings)
    assert errors == pytest.approx([0.0] * 8, abs=0.02)
    assert readings_of(5) < np.mean(readings) < readings_of(15)


def test_a_comparison_of_slow_rounds_that_agree_ends_sooner(files: list[Path]) -> None:
    """A device that was faster once, and now never comes near to it."""
    device = FakeDevice(loads=[BackgroundLoad(0, 1e9, slowdown=1.3)])
    device.baseline = SentinelTimes(core_s=device.law_s(device.sentinel))
    true = device.law_s(files[1]) / device.law_s(files[0])
    assert compare_files(device, files) == pytest.approx([1.0, true], rel=1e-9)
    assert device.readings == readings_of(10)


def test_a_comparison_that_never_agrees_ends(files: list[Path]) -> None:
    device = FakeDevice(process_noise=0.5)
    assert len(compare_files(device, files)) == 2
    assert device.readings == readings_of(20)


def test_a_comparison_outlives_two_lost_rounds_and_not_three(files: list[Path]) -> None:
    assert len(compare_files(FakeDevice(faults={1: "die", 9: "hang"}), files)) == 2
    with pytest.raises(DeviceLostError):
        compare_files(FakeDevice(faults={1: "die", 9: "die", 16: "die"}), files)


def test_a_file_that_is_refused_is_not_compared(files: list[Path]) -> None:
    device = FakeDevice(refuses=lambda job: job == files[1])
    with pytest.raises(WorkloadError, match=r"small.onnx was not timed: .*refuses"):
        compare_files(device, files)


def test_settings_are_checked() -> None:
    with pytest.raises(UsageError, match="rounds are 5 to 4"):
        ScheduleSettings(min_rounds=5, max_rounds=4)
    with pytest.raises(UsageError, match="round_s is 0"):
        ScheduleSettings(round_s=0)


def test_the_pause_is_set_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LATPROF_PAUSE_S", "0.25")
    assert ScheduleSettings().pause_s == 0.25
    monkeypatch.setenv("LATPROF_PAUSE_S", "long")
    with pytest.raises(UsageError, match="LATPROF_PAUSE_S is 'long'; expected seconds"):
        ScheduleSettings()


def test_readings_are_samples_or_an_error() -> None:
    for wrong in ({}, {"samples_s": (1.0,), "error": "no"}, {"samples_s": (0.0,)}):
        with pytest.raises(WorkloadError):
            Reading(**wrong)


def test_the_fake_opens_by_name() -> None:
    with open_device("fake", seed="7", process_noise="0.01") as device:
        assert device.target.runtime == "fake"
        assert len(list(profile(device, [MatMul(8, 8, 8)], settings=QUICK))) == 1
    with pytest.raises(
        UsageError, match="fake has no setting 'colour'; its settings are seed, stair"
    ):
        open_device("fake", colour="red")
