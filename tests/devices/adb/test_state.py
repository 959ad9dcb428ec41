"""Clusters, weather, knobs and throttling of phones."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from support.adbd import Phone

from latprof.devices.adb._knobs import Knobs, clean_up
from latprof.devices.adb._state import Cluster, read_facts, read_state
from latprof.devices.adb._thermal import Thermals
from latprof.devices.adb._transport import Transport
from latprof.errors import DeviceError, ProtocolError, UnknownDeviceError

pytest_plugins = ["support.adb"]

FOLDER = "/data/local/tmp/latprof"
CPUFREQ = "sys/devices/system/cpu/cpufreq"


@pytest.fixture
def transport(connect: Callable[..., Transport], phone: Phone) -> Transport:
    made = connect(phone)
    made.run(f"mkdir -p {FOLDER}")
    return made


@pytest.fixture
def backend() -> str:
    return "direct"  # both are tested in test_adb_transport


def test_three_clusters(transport: Transport) -> None:
    facts = read_facts(transport)
    assert (facts.model, facts.abi, facts.serial) == ("Pixel 6", "arm64-v8a", "1A2B3C4D5E6F")
    assert facts.clusters == (
        Cluster("little", (0, 1, 2, 3), 1_803_000_000, 0),
        Cluster("mid", (4, 5), 2_253_000_000, 4),
        Cluster("big", (6, 7), 2_802_000_000, 6),
    )
    assert [c.mask for c in facts.clusters] == ["f", "30", "c0"]
    assert facts.cluster("").name == "big"
    with pytest.raises(
        UnknownDeviceError, match=r"no cluster 'huge'; .*mid \(CPUs 4-5, 2.25 GHz\)"
    ):
        facts.cluster("huge")


def test_two_clusters_one_and_none(transport: Transport, phone: Phone) -> None:
    shutil.rmtree(phone.root / CPUFREQ / "policy4")
    assert [c.name for c in read_facts(transport).clusters] == ["little", "big"]
    for khz in ("cpuinfo_max_freq", "scaling_max_freq"):
        (phone.root / CPUFREQ / "policy6" / khz).write_text("1803000\n")
    assert read_facts(transport).clusters == (Cluster("all", (0, 1, 2, 3, 6, 7), 1_803_000_000, 0),)
    shutil.rmtree(phone.root / CPUFREQ)
    assert read_facts(transport).clusters == (Cluster("all", tuple(range(8))),)


def test_four_clusters(transport: Transport, phone: Phone) -> None:
    prime = phone.root / CPUFREQ / "policy7"
    shutil.copytree(phone.root / CPUFREQ / "policy6", prime)
    (prime / "cpuinfo_max_freq").write_text("3100000\n")
    (prime / "related_cpus").write_text("7\n")
    assert [c.name for c in read_facts(transport).clusters] == ["little", "mid", "mid2", "big"]


def test_what_is_no_phone(transport: Transport, phone: Phone) -> None:
    phone.set("ro.product.model", "")
    with pytest.raises(ProtocolError, match="no model or ABI"):
        read_facts(transport)


def test_weather(transport: Transport, phone: Phone) -> None:
    phone.set("thermal_status", "3")
    phone.set("low_power", "1")
    (phone.root / "sys/class/thermal/thermal_zone3/temp").write_text("31\n")  # whole degrees
    state = read_state(transport)
    assert (state.battery_percent, state.charging, state.battery_saver) == (87, True, True)
    assert (state.thermal, state.awake) == (3, False)
    assert state.zones_c["BIG"] == 41.0
    assert state.zones_c["battery"] == 31.0
    assert state.max_hz[6] == 2_802_000_000
    assert state.governors == dict.fromkeys((0, 4, 6), "sched_pixel")


def test_weather_of_a_phone_that_tells_nothing(transport: Transport, phone: Phone) -> None:
    shutil.rmtree(phone.root / "sys")
    shutil.rmtree(phone.root / "state")
    state = read_state(transport)
    assert (state.thermal, state.awake, state.zones_c, state.max_hz) == (None, None, {}, {})


def test_knobs_are_set_read_back_and_restored(transport: Transport, phone: Phone) -> None:
    phone.set("stay_on_while_plugged_in", "1")
    knobs = Knobs(transport, FOLDER, fixed_performance=True, stay_awake=True)
    assert knobs.read_back() == {
        "stay_awake": {"before": "1", "now": "15"},
        "screen": "mWakefulness=Awake",
        "fixed_performance": "on",
        "refused": {},
    }
    assert (phone.get("fixed_performance"), phone.get("wakefulness")) == ("true", "Awake")
    clean_up(transport, FOLDER)
    assert (phone.get("fixed_performance"), phone.get("wakefulness")) == ("false", "Asleep")
    assert phone.get("stay_on_while_plugged_in") == "1"
    assert not list(phone.tmp.iterdir())


def test_a_screen_that_was_on_stays_on(transport: Transport, phone: Phone) -> None:
    phone.set("wakefulness", "Awake")
    Knobs(transport, FOLDER, fixed_performance=False, stay_awake=True)
    clean_up(transport, FOLDER)
    assert phone.get("wakefulness") == "Awake"
    assert phone.get("fixed_performance") == "false"


def test_a_refused_knob_is_recorded(transport: Transport, phone: Phone) -> None:
    phone.set("no_fixed_performance", "")
    found = Knobs(transport, FOLDER, fixed_performance=True, stay_awake=False).read_back()
    assert found["fixed_performance"] == "off"
    assert "Power HAL AIDL is not implemented" in found["refused"]["fixed_performance"]


def _thermals(slept: list[float], on_sleep: Callable[[], object] = lambda: None) -> Thermals:
    def sleep(seconds: float) -> None:
        slept.append(seconds)
        on_sleep()

    cluster = Cluster("big", (6, 7), 2_802_000_000, 6)
    return Thermals("Pixel 6/big", cluster, pause_s=30, poll_s=10, sleep=sleep)


def test_a_hot_phone_is_waited_for_with_a_countdown(
    transport: Transport, phone: Phone, caplog: pytest.LogCaptureFixture
) -> None:
    slept: list[float] = []
    thermals = _thermals(slept, lambda: phone.set("thermal_status", "1" if len(slept) > 1 else "2"))
    thermals.start(transport)
    assert not thermals.throttled(transport.run(thermals.command).output)
    phone.set("thermal_status", "4")
    assert thermals.throttled(transport.run(thermals.command).output) == "thermal status critical"
    thermals.cool(transport)
    assert slept == [10, 10]
    assert "at most 30 s more" in caplog.text
    assert "at most 20 s more" in caplog.text


def test_a_capped_clock_is_a_throttle(transport: Transport, phone: Phone) -> None:
    thermals = _thermals([])
    thermals.start(transport)
    (phone.root / CPUFREQ / "policy6/scaling_max_freq").write_text("1900000\n")
    told = thermals.throttled(transport.run(thermals.command).output)
    assert told == "clock capped at 1.90 of 2.80 GHz"


def test_a_phone_that_stays_hot_ends_in_an_error(transport: Transport, phone: Phone) -> None:
    phone.set("thermal_status", "3")
    slept: list[float] = []
    with pytest.raises(DeviceError, match=r"still throttled \(thermal status severe\) after .* 30"):
        _thermals(slept).start(transport)
    assert sum(slept) == 30


def test_the_work_folder_of_a_killed_run_is_cleaned(transport: Transport, phone: Phone) -> None:
    Knobs(transport, FOLDER, fixed_performance=True, stay_awake=True)
    left = Path(phone.tmp / "latprof/restore.sh")
    assert left.exists()
    clean_up(transport, FOLDER)
    assert phone.get("fixed_performance") == "false"
    clean_up(transport, FOLDER)  # nothing there is no error
