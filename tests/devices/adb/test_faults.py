"""What goes wrong with phones on the way: each ends in a typed error, or the run goes on."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import Any

import pytest
from support.adbd import Phone
from support.phone_jobs import JOBS, MORE, QUICK, Open

from latprof.devices import Event, profile
from latprof.devices.adb._device import AdbDevice
from latprof.errors import (
    DeviceError,
    DeviceLostError,
    DeviceTimeoutError,
)
from latprof.workloads import Workload

pytest_plugins = ["support.adb"]


@pytest.fixture
def backend() -> str:
    return "direct"


def _profile(
    device: AdbDevice, journal: Path | None = None
) -> tuple[dict[Workload, Any], list[Event]]:
    events: list[Event] = []
    rows = profile(device, JOBS, journal=journal, settings=QUICK, on_event=events.append)
    return {row.workload: row for row in rows}, events


@pytest.mark.parametrize(
    "fault",
    [
        "reboot_run",  # which is unplugged too
        "truncate_push",
        pytest.param("unplug_run", marks=pytest.mark.slow),
        pytest.param("unplug_push", marks=pytest.mark.slow),
    ],
)
def test_a_phone_that_comes_back_is_gone_on_with(
    phone: Phone, open_device: Open, fault: str
) -> None:
    device = open_device(phone)
    phone.faults.add(fault)
    rows, events = _profile(device)
    assert set(rows) == set(JOBS)
    assert {row.status for row in rows.values()} == {"ok"}
    assert "lost" in {event.kind for event in events}
    assert device.environment()["times_lost"] == 1
    assert phone.get("fixed_performance") == "true"  # set again after the reboot


def test_a_phone_that_stays_away_ends_in_an_error_and_the_journal_goes_on(
    phone: Phone, open_device: Open, tmp_path: Path, home: Path
) -> None:
    journal = tmp_path / "rows.journal"
    device = open_device(phone)
    rows = profile(device, JOBS, journal=journal, settings=QUICK)
    next(rows)
    rows.close()
    phone.__exit__()
    with pytest.raises(DeviceLostError):
        list(profile(device, JOBS, journal=journal, settings=MORE))
    key = (home / ".android/adbkey.pub").read_text()
    with Phone(phone.root, authorized=(key,)) as again:
        found = {
            row.workload
            for row in profile(open_device(again), JOBS, journal=journal, settings=MORE)
        }
    assert found == set(JOBS)


def test_a_phone_that_takes_its_time_to_come_back(
    phone: Phone, open_device: Open, home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    device = open_device(phone, return_s="20")
    phone.__exit__()
    with pytest.raises(DeviceLostError):
        list(device.round(JOBS[:1], measure_s=0.02))
    key = (home / ".android/adbkey.pub").read_text()
    back: list[Phone] = []

    def come_back() -> None:
        back.append(Phone(phone.root, authorized=(key,), port=phone.port).__enter__())

    timer = threading.Timer(0.5, come_back)
    timer.start()
    assert not next(device.round(JOBS[:1], measure_s=0.02)).error
    device.close()
    timer.join()
    back[0].__exit__()
    assert "is gone: waiting for it, at most 20 s more" in caplog.text


def test_another_phone_at_the_same_address(
    phone: Phone, open_device: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = open_device(phone)
    phone.set("ro.serialno", "ANOTHER")
    phone.unplug()
    with pytest.raises(DeviceLostError):
        list(device.round(JOBS[:1], measure_s=0.02))
    with pytest.raises(DeviceError, match="now is Pixel 6 ANOTHER; it was Pixel 6 1A2B3C4D5E6F"):
        list(device.round(JOBS[:1], measure_s=0.02))


def test_a_full_phone(phone: Phone, open_device: Open) -> None:
    device = open_device(phone)
    phone.faults.add("storage_full")
    with pytest.raises(DeviceError, match="No space left on device"):
        list(device.round(JOBS, measure_s=0.02))


def test_a_phone_that_hangs(phone: Phone, open_device: Open) -> None:
    device = open_device(phone, limit_s="1")
    phone.faults.add("hang_run")
    with pytest.raises(DeviceTimeoutError):
        list(device.round(JOBS, measure_s=0.02))
    assert not next(device.round(JOBS, measure_s=0.02)).error


@pytest.mark.parametrize(("fault", "words"), [("truncated", "output ends early"), ("zero", "0 us")])
def test_output_that_is_no_measurement_flags_its_row(
    phone: Phone, open_device: Open, fault: str, words: str
) -> None:
    device = open_device(phone)
    phone.set(f"fault_{fault}", "")
    if fault == "zero":
        readings = list(device.round(JOBS[:2], measure_s=0.02))
        assert all(words in r.error for r in readings)
    else:
        with pytest.raises(DeviceError, match=words):
            list(device.round(JOBS[:2], measure_s=0.02))


def test_a_delegate_that_refuses_a_model_fails_its_row(phone: Phone, open_device: Open) -> None:
    device = open_device(phone, delegate="GPU")
    phone.set("refuses_GPU", "")
    assert "GPU delegate takes none" in next(device.round(JOBS, measure_s=0.02)).error


def test_a_throttled_window_is_taken_again_after_a_pause(
    phone: Phone, open_device: Open, caplog: pytest.LogCaptureFixture
) -> None:
    device = open_device(phone)
    list(device.round(JOBS, measure_s=0.02))
    runs = [c for c in phone.commands if "b m" in c]
    thermals = device._thermals
    sleep = thermals._sleep

    def cool(seconds: float) -> None:
        phone.set("thermal_status", "0")
        (phone.root / "state/throttled").unlink(missing_ok=True)
        sleep(0)

    thermals._sleep = cool
    phone.set("thermal_status", "3")
    phone.set("throttled", "")
    with caplog.at_level(logging.WARNING):
        readings = list(device.round(JOBS, measure_s=0.02))
    assert len(readings) == len(JOBS)
    assert "4 readings are taken again" in caplog.text
    assert "is throttled (thermal status severe): pausing" in caplog.text
    assert len([c for c in phone.commands if "b m" in c]) == len(runs) + 2
    assert device.environment()["thermal_pauses"] == 1
