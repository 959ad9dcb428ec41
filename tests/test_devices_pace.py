"""The best pace that a device has shown outlives the run."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from latprof._workload import Conv2d
from latprof.devices import ScheduleSettings, open_device, profile
from latprof.devices._pace import recall, remember

QUICK = ScheduleSettings(
    round_s=0.001, min_rounds=2, max_rounds=2, pause_s=1e-9, min_busy=0.0, sentinel_limit=99
)


@pytest.fixture(autouse=True)
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "latprof" / "pace.json"


def test_the_best_is_kept_of_each_device() -> None:
    assert recall("a") == math.inf
    remember("a", 3e-6)
    remember("b", 5e-6)
    remember("a", 2e-6)
    remember("a", 2.05e-6)
    remember("a", 9e-6)
    assert (recall("a"), recall("b")) == (2e-6, 5e-6)


def test_what_was_not_seen_again_for_a_day_is_forgotten(memory: Path) -> None:
    remember("a", 2e-6)
    remember("b", 2e-6)
    known = json.loads(memory.read_text())
    known["a"]["seen"] = (datetime.now(UTC) - timedelta(hours=25)).isoformat()
    memory.write_text(json.dumps(known))
    assert (recall("a"), recall("b")) == (math.inf, 2e-6)
    remember("a", 4e-6)
    assert recall("a") == 4e-6


@pytest.mark.parametrize("content", ["", "[1]", '{"a": 3}', '{"a": {"seen": "yesterday"}}'])
def test_a_file_that_is_no_memory_is_none(memory: Path, content: str) -> None:
    memory.parent.mkdir()
    memory.write_text(content)
    assert recall("a") == math.inf
    remember("a", 2e-6)
    assert recall("a") == 2e-6


def test_a_profile_leaves_the_pace_it_saw_to_the_next(
    memory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LATPROF_PAUSE_S", "1e-9")
    with open_device("local") as device:
        assert device.quickest_s == math.inf
        list(profile(device, [Conv2d(7, 7, 16, 24)], settings=QUICK))
        seen_s = device.quickest_s
    (known,) = json.loads(memory.read_text()).values()
    assert known["quickest_s"] == seen_s < 1e-3


@pytest.mark.parametrize(("times", "believed"), [(50.0, True), (0.01, False)])
def test_what_is_remembered_is_believed_unless_the_device_is_far_from_it(
    memory: Path, monkeypatch: pytest.MonkeyPatch, times: float, believed: bool
) -> None:
    monkeypatch.setenv("LATPROF_PAUSE_S", "1e-9")
    with open_device("local") as device:
        (reading,) = device.round([device.sentinel], measure_s=0.001)
        device.quickest_s = reading.sentinel_s * times
    with open_device("local") as again:
        assert (again.quickest_s == reading.sentinel_s * times) == believed


def test_where_nothing_is_waited_for_nothing_is_remembered(memory: Path) -> None:
    with open_device("local") as device:
        list(profile(device, [Conv2d(7, 7, 16, 24)], settings=ScheduleSettings(round_s=0.001)))
    assert not memory.exists()
