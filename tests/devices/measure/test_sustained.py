"""Latency over minutes, by the fake device's exact law of throttling: no test waits."""

from __future__ import annotations

import math
from collections.abc import Generator
from pathlib import Path

import pytest

from latprof.devices import (
    BackgroundLoad,
    Event,
    FakeDevice,
    Reading,
    Sustained,
    measure_sustained,
    open_device,
)
from latprof.devices.agent.runtimes._onnx_model import write_onnx
from latprof.errors import DeviceLostError, ModelLoadError, UsageError, WorkloadError
from latprof.report import sustained_lines, sustained_markdown
from latprof.workloads import MatMul

TEN_MINUTES = 600.0


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    path.write_bytes(write_onnx(MatMul(1, 64, 64)))
    return path


def test_a_cool_device_keeps_its_latency_and_has_no_onset(file: Path) -> None:
    device = FakeDevice(sample_noise=0.02, process_noise=0.01)
    found = measure_sustained(device, file, TEN_MINUTES)
    assert found.onset_s is None
    assert found.settled
    assert found.slowdown == pytest.approx(1.0, abs=0.01)
    assert found.steady_s == pytest.approx(device.law_s(file), rel=0.02)
    assert found.seconds == pytest.approx(TEN_MINUTES, rel=0.01)
    assert "throttling: none" in sustained_lines(found)


@pytest.mark.parametrize("after_s", [90.0, 200.0, 400.0])
def test_throttling_is_found_when_it_begins_and_as_slow_as_it_gets(
    file: Path, after_s: float
) -> None:
    device = FakeDevice(throttle_after_s=after_s, throttle_slowdown=1.4, sample_noise=0.02)
    found = measure_sustained(device, file, TEN_MINUTES)
    assert found.onset_s == pytest.approx(after_s, abs=6)
    assert found.slowdown == pytest.approx(1.4, rel=0.01)
    assert found.settled
    assert found.first_s == pytest.approx(device.law_s(file), rel=0.02)


def test_a_slow_onset_is_the_first_two_percent(file: Path) -> None:
    device = FakeDevice(throttle_after_s=120, throttle_slowdown=1.5, throttle_settle_s=60)
    found = measure_sustained(device, file, TEN_MINUTES)
    # 1 + 0.5 (1 - exp(-t / 60)) is 2% at 60 ln(1 / 0.96) s
    assert found.onset_s == pytest.approx(120 + 60 * math.log(1 / 0.96), abs=6)
    expected = [1.5 - 0.5 * math.exp(-(t - 120) / 60) for t in found.times_s if t > 450]
    assert found.slowdown == pytest.approx(sorted(expected)[len(expected) // 2], rel=0.005)


def test_what_still_grows_slower_is_not_settled(file: Path) -> None:
    found = measure_sustained(FakeDevice(drift=0.002), file, TEN_MINUTES)
    assert not found.settled
    assert any("still grows slower" in line for line in sustained_lines(found))


def test_throttling_within_the_first_minute_has_an_onset_too(file: Path) -> None:
    device = FakeDevice(throttle_after_s=40, throttle_slowdown=1.3)
    found = measure_sustained(device, file, TEN_MINUTES)
    assert found.onset_s == pytest.approx(40, abs=6)


def test_a_load_that_takes_the_core_is_no_throttling(file: Path) -> None:
    load = BackgroundLoad(200, 260, slowdown=2, core_share=0.5)
    found = measure_sustained(FakeDevice(loads=[load]), file, TEN_MINUTES)
    assert found.onset_s is None
    assert found.slowdown == pytest.approx(1.0)
    assert 0 < found.preempted < found.readings / 2
    assert any("beside other tasks" in line for line in sustained_lines(found))


def test_where_other_tasks_always_take_the_core_throttling_cannot_be_seen(file: Path) -> None:
    load = BackgroundLoad(200, math.inf, slowdown=2, core_share=0.5)
    found = measure_sustained(FakeDevice(loads=[load]), file, TEN_MINUTES)
    assert found.mostly_preempted
    assert found.onset_s is None
    assert "throttling: not seen, most readings were taken beside other tasks" in sustained_lines(
        found
    )


def test_lines_and_markdown_hold_the_series(file: Path) -> None:
    device = FakeDevice(throttle_after_s=200, throttle_slowdown=1.4)
    found = measure_sustained(device, file, TEN_MINUTES)
    lines = sustained_lines(found)
    assert "1.40 times" in lines[0]
    assert lines[1].startswith("throttling: from 3 min")
    assert lines[-1].split()[-1] == "1.40x"
    assert sustained_markdown(found).count("\n| ") == 11  # title and ten rows
    assert found.to_dict()["slowdown"] == pytest.approx(1.4)


class Interrupted(FakeDevice):
    """Somebody presses Ctrl-C after so many readings."""

    left = 100

    def sustain(self, path: Path, *, measure_s: float) -> Generator[Reading]:
        for reading in super().sustain(path, measure_s=measure_s):
            if not self.left:
                raise KeyboardInterrupt
            self.left -= 1
            yield reading


def test_ctrl_c_keeps_what_was_measured(file: Path) -> None:
    device = Interrupted()
    found = measure_sustained(device, file, TEN_MINUTES)
    assert found.is_interrupted
    assert found.readings == 100
    assert found.seconds == pytest.approx(50)
    device.left = 2
    with pytest.raises(KeyboardInterrupt):
        measure_sustained(device, file, TEN_MINUTES)


def test_a_device_that_is_lost_goes_on_and_is_given_up_in_the_end(file: Path) -> None:
    events: list[Event] = []
    found = measure_sustained(
        FakeDevice(faults={50: "die", 70: "hang"}), file, TEN_MINUTES, on_event=events.append
    )
    assert found.readings >= TEN_MINUTES / 0.5 - 1
    assert events[-1].fraction == 1.0
    with pytest.raises(DeviceLostError):
        measure_sustained(
            FakeDevice(faults={5: "die", 7: "die", 9: "die"}), file, TEN_MINUTES
        )  # fmt: skip


def test_what_cannot_be_measured_is_refused(file: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="expected a longer time"):
        measure_sustained(FakeDevice(), file, 0.5)
    with pytest.raises(ModelLoadError):
        measure_sustained(FakeDevice(), tmp_path / "missing.onnx", 10)
    with pytest.raises(WorkloadError):
        measure_sustained(FakeDevice(refuses=lambda job: job == file), file, 10)


def test_a_real_runtime_runs_on(file: Path) -> None:
    with open_device("local") as device:
        found = measure_sustained(device, file, 2.0)
    assert isinstance(found, Sustained)
    assert found.readings >= 8
    assert found.seconds >= 2.0
    assert found.first_s > 0
