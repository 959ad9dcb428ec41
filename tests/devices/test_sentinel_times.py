"""What a device's sentinels take while it is idle outlives the run."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from latprof.devices import ScheduleSettings, SentinelTimes, open_device, profile
from latprof.devices._sentinel_times import load_sentinel_times, save_sentinel_times
from latprof.workloads import Conv2d, MatMul

QUICK = ScheduleSettings(
    round_s=0.001, min_rounds=2, max_rounds=2, pause_s=1e-9, min_core_share=0.0, max_slowdown=99
)


@pytest.fixture(autouse=True)
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "latprof" / "sentinel_times.json"


def test_the_best_is_kept_of_each_device() -> None:
    assert load_sentinel_times("a") == SentinelTimes()
    save_sentinel_times("a", SentinelTimes(3e-6))
    save_sentinel_times("b", SentinelTimes(5e-6, 1e-4))
    save_sentinel_times("a", SentinelTimes(2e-6))
    save_sentinel_times("a", SentinelTimes(2.05e-6, 2e-4))
    save_sentinel_times("a", SentinelTimes(9e-6))
    assert (load_sentinel_times("a"), load_sentinel_times("b")) == (
        SentinelTimes(2e-6, 2e-4),
        SentinelTimes(5e-6, 1e-4),
    )


def test_what_was_not_seen_again_for_a_day_is_forgotten(memory: Path) -> None:
    save_sentinel_times("a", SentinelTimes(2e-6, 1e-4))
    save_sentinel_times("b", SentinelTimes(2e-6))
    known = json.loads(memory.read_text())
    known["devices"]["a"]["core_s"]["seen"] = (datetime.now(UTC) - timedelta(hours=25)).isoformat()
    memory.write_text(json.dumps(known))
    assert (load_sentinel_times("a"), load_sentinel_times("b")) == (
        SentinelTimes(memory_s=1e-4),
        SentinelTimes(2e-6),
    )
    save_sentinel_times("a", SentinelTimes(4e-6))
    assert load_sentinel_times("a") == SentinelTimes(4e-6, 1e-4)


def test_the_memory_is_remembered_of_a_core_that_is_slow_today() -> None:
    save_sentinel_times("a", SentinelTimes(2e-6, 1e-4))
    save_sentinel_times("a", SentinelTimes(3e-6, 0.9e-4))
    assert load_sentinel_times("a") == SentinelTimes(2e-6, 0.9e-4)


@pytest.mark.parametrize(
    "content",
    ["", "[1]", '{"a": 3}',
     '{"version": 99, "devices": {"a": {}}}',
     '{"version": 2, "devices": 3}', '{"a": {"core_s": {"seen": "yesterday"}}}',
     '{"a": {"core_s": {"seen": "2999-01-01T00:00:00+00:00"}}}'],
)  # fmt: skip
def test_a_file_that_is_no_memory_is_none(memory: Path, content: str) -> None:
    memory.parent.mkdir()
    memory.write_text(content)
    assert load_sentinel_times("a") == SentinelTimes()
    save_sentinel_times("a", SentinelTimes(2e-6))
    assert load_sentinel_times("a") == SentinelTimes(2e-6)


def test_a_profile_leaves_what_it_saw_to_the_next(
    memory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LATPROF_PAUSE_S", "1e-9")
    with open_device("local") as device:
        assert device.baseline == SentinelTimes()
        list(profile(device, [Conv2d(7, 7, 16, 24), MatMul(1, 1024, 512)], settings=QUICK))
        seen = device.baseline
    with open_device("local") as device:
        assert device.baseline == seen
    assert seen.core_s < seen.memory_s < 0.01


@pytest.mark.parametrize(("times", "kept"), [(50.0, True), (0.01, False)])
def test_what_is_remembered_is_used_unless_the_device_is_far_from_it(
    memory: Path, monkeypatch: pytest.MonkeyPatch, times: float, kept: bool
) -> None:
    monkeypatch.setenv("LATPROF_PAUSE_S", "1e-9")
    with open_device("local") as device:
        (reading,) = device.round([device.sentinel], measure_s=0.001)
        device.baseline = SentinelTimes(reading.sentinel_s * times, 1e-4)
    with open_device("local") as again:
        assert again.baseline == (
            SentinelTimes(reading.sentinel_s * times, 1e-4) if kept else SentinelTimes()
        )


def test_where_nothing_is_waited_for_nothing_is_remembered(memory: Path) -> None:
    with open_device("local") as device:
        list(profile(device, [Conv2d(7, 7, 16, 24)], settings=ScheduleSettings(round_s=0.001)))
    assert not memory.exists()


def test_the_file_of_the_version_before_is_read(memory: Path) -> None:
    memory.parent.mkdir()
    now = datetime.now(UTC).isoformat()
    former = {"a": {"core_s": {"quickest_s": 2e-6, "seen": now}}}
    memory.with_name("pace.json").write_text(json.dumps(former))
    assert load_sentinel_times("a") == SentinelTimes(2e-6)
    save_sentinel_times("b", SentinelTimes(5e-6))
    assert load_sentinel_times("a") == SentinelTimes(2e-6)
    assert json.loads(memory.read_text())["version"] == 2
