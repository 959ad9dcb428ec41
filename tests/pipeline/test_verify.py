"""A file measured on its device beside its prediction."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.adbd import Phone, elf
from support.phone_jobs import QUICK

from latprof.devices import (
    BackgroundLoad,
    Device,
    FakeDevice,
    SentinelTimes,
    open_device,
    profile,
)
from latprof.devices.agent.runtimes._tflite_model import write_tflite
from latprof.errors import UsageError
from latprof.pipeline import Verification, verify
from latprof.pipeline.gating import read_bytes, read_duration
from latprof.tables import LatencyTable
from latprof.workloads import MatMul, Workload

pytest_plugins = ["support.adb"]


def test_a_device_that_gives_no_outputs_is_timed_and_says_so(
    phone: Phone, home: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "tool").write_bytes(elf("litert2.2"))
    settings = {
        "benchmark_model": str(tmp_path / "tool"), "backend": "direct",
        "key": str(home / ".android/adbkey"),
    }  # fmt: skip
    device, file = f"adb:{phone.serial}", tmp_path / "model.tflite"
    workloads: list[Workload] = [MatMul(1, k, n) for k in (64, 128) for n in (64, 128, 256)]
    file.write_bytes(write_tflite(workloads[0]))
    np.savez(file.with_suffix(".check.npz"), nothing=np.zeros(1))  # not even read
    with open_device(device, runtime="tflite", **settings) as opened:
        rows = tuple(profile(opened, workloads, settings=QUICK))
        table = LatencyTable(opened.target, rows)
    result = verify(file, table, device=device, **settings)
    assert result.latency_s > 0
    assert result.max_rel_error is None
    assert "prints no memory footprint" in result.usage.missing["memory"]
    assert "of the whole phone" in result.usage.missing["energy"]
    assert "are not compared: LiteRT's benchmark_model saves no outputs" in caplog.text


def test_a_timing_beside_background_load_is_flagged_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "model.tflite"
    workloads: list[Workload] = [MatMul(1, k, n) for k in (64, 128) for n in (64, 128, 256)]
    file.write_bytes(write_tflite(workloads[0]))
    with open_device("fake") as opened:
        table = LatencyTable(opened.target, tuple(profile(opened, workloads, settings=QUICK)))
    busy = FakeDevice(loads=[BackgroundLoad(0, math.inf, slowdown=5)])
    busy.baseline = SentinelTimes(core_s=busy.law_s(busy.sentinel))
    monkeypatch.setattr("latprof.pipeline._verify.open_target", lambda *_: busy)
    result = verify(file, table, device="fake", max_bytes=f"{file.stat().st_size - 1}")
    assert result.latency_s > 0
    assert (result.fits, result.exit_code) == (False, 3)
    assert result.to_dict()["bytes"] == file.stat().st_size
    assert result.status == "throttled"
    assert result.detail
    assert result.to_dict()["status"] == "throttled"


def fake_table() -> LatencyTable:
    workloads: list[Workload] = [MatMul(1, k, n) for k in (64, 128) for n in (64, 128, 256)]
    with open_device("fake") as opened:
        return LatencyTable(opened.target, tuple(profile(opened, workloads, settings=QUICK)))


def test_a_limit_of_memory_is_decided_or_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, table = tmp_path / "model.tflite", fake_table()
    file.write_bytes(write_tflite(MatMul(1, 64, 64)))
    taken = 2 * file.stat().st_size + 2**20  # by the fake device's law
    found = verify(file, table, device="fake", max_memory=taken)
    assert found.usage.memory_bytes == taken
    assert found.usage.energy_j == pytest.approx(2 * FakeDevice().law_s(file))
    assert (found.fits_memory, found.exit_code) == (True, 0)
    less = verify(file, table, device="fake", max_memory=f"{taken - 1}")
    assert (less.fits_memory, less.exit_code) == (False, 3)
    assert less.to_dict()["usage"]["memory_bytes"] == taken
    monkeypatch.setattr(FakeDevice, "usage", Device.usage)
    unknown = verify(file, table, device="fake", max_memory="20MB")
    assert (unknown.fits_memory, unknown.exit_code) == (None, 4)
    assert unknown.usage.missing["memory"] == "fake cannot tell"


def test_a_limit_may_be_of_the_steady_state(tmp_path: Path) -> None:
    file, table = tmp_path / "model.tflite", fake_table()
    file.write_bytes(write_tflite(MatMul(1, 64, 64)))
    cool_s = FakeDevice().law_s(file)
    hot: dict[str, Any] = {"throttle_after_s": "120", "throttle_slowdown": "1.5"}

    def check(limit: float, **more: Any) -> Verification:
        return verify(file, table, device="fake", max_latency=limit * cool_s, **more)

    assert check(1.2).exit_code == 0
    assert check(1.2, sustained="10min").exit_code == 0
    found = check(1.2, sustained="10min", **hot)
    assert found.exit_code == 3
    assert found.check is not None
    assert found.check.measured == pytest.approx(1.5 * cool_s, rel=1e-3)
    assert found.latency_s == pytest.approx(cool_s, rel=0.02)
    assert found.sustained is not None
    assert found.sustained.onset_s == pytest.approx(120, abs=6)
    assert json.loads(json.dumps(found.to_dict()))["sustained"]["slowdown"] == pytest.approx(1.5)
    assert check(2, sustained=600, **hot).exit_code == 0
    grows = check(20, sustained="10min", drift="0.002")
    assert (grows.exit_code, grows.check and "still grows" in grows.check.detail) == (4, True)


@pytest.mark.parametrize(("text", "seconds"), [("10min", 600), ("90 s", 90), ("1h", 3600), (7, 7)])
def test_times_as_people_write_them(text: str | float, seconds: float) -> None:
    assert read_duration(text, "sustained") == seconds


@pytest.mark.parametrize("text", ["", "0s", "-1s", "10", "5ms", "10 minutes"])
def test_other_times_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="expected a time with its unit, like 10min"):
        read_duration(text, "sustained")


@pytest.mark.parametrize(
    ("text", "size"), [("4MB", 4e6), ("1.5 kB", 1500), ("2KiB", 2048), (7, 7), ("12", 12)]
)
def test_sizes_as_people_write_them(text: str | float, size: float) -> None:
    assert read_bytes(text, "max-bytes") == size


@pytest.mark.parametrize("text", ["", "0", "-1", "4 ms", "4mb", "50%"])
def test_other_sizes_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="expected a size like 4MB"):
        read_bytes(text, "max-bytes")
