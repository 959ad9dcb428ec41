"""Memory and energy on the device host: marks of this process, and counters of a stand-in sysfs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from latprof.devices.agent._clock import Timed
from latprof.devices.agent._energy import RaplEnergy, energy_per_call_j
from latprof.devices.agent._memory import HighWaterMark
from latprof.devices.agent.runtimes._base import Array, Prepared

MIB = 2**20


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not set the mark back")
def test_the_mark_rises_by_what_was_taken_and_given_back() -> None:
    mark = HighWaterMark()
    taken = b"x" * (64 * MIB)
    del taken
    risen = mark.risen_bytes()
    assert risen is not None
    assert risen == pytest.approx(64 * MIB, abs=2 * MIB)  # the kernel counts in batches
    assert HighWaterMark().risen_bytes() == pytest.approx(0, abs=2 * MIB)


def test_a_mark_that_cannot_be_set_back_tells_only_what_is_above_it(tmp_path: Path) -> None:
    status = tmp_path / "status"
    status.write_text("Name:\tpython\nVmHWM:\t  1000 kB\nVmRSS:\t  900 kB\n")
    (tmp_path / "clear_refs").mkdir()  # it cannot be written to
    mark = HighWaterMark(tmp_path)
    assert mark.risen_bytes() is None
    assert "below the high-water mark" in mark.missing
    status.write_text("VmHWM:\t  1500 kB\n")
    assert mark.risen_bytes() == 500 * 1024


class Powercap:
    """/sys/class/powercap of a machine with two packages, as the kernel's documentation has it."""

    RANGE_UJ = 262_143_328_850

    def __init__(self, root: Path) -> None:
        self.root = root
        for zone, name in (
            ("intel-rapl", ""), ("intel-rapl:0", "package-0"), ("intel-rapl:0:0", "core"),
            ("intel-rapl:0:1", "dram"), ("intel-rapl:1", "package-1"), ("intel-rapl:2", "psys"),
        ):  # fmt: skip
            (root / zone).mkdir()
            if name:
                (root / zone / "name").write_text(f"{name}\n")
                (root / zone / "max_energy_range_uj").write_text(f"{self.RANGE_UJ}\n")
                self.set(zone, 0)

    def set(self, zone: str, uj: int) -> None:
        (self.root / zone / "energy_uj").write_text(f"{uj}\n")


def test_all_packages_count_and_a_counter_may_begin_anew(tmp_path: Path) -> None:
    powercap = Powercap(tmp_path)
    powercap.set("intel-rapl:0", powercap.RANGE_UJ - 999_999)
    powercap.set("intel-rapl:1", 7)
    energy = RaplEnergy(tmp_path)
    assert energy.missing == ""
    energy.start()
    powercap.set("intel-rapl:0", 1_000_000)
    powercap.set("intel-rapl:1", 500_007)
    powercap.set("intel-rapl:0:0", 123_456)
    powercap.set("intel-rapl:2", 9_999_999)
    assert energy.taken_j() == pytest.approx(2.0 + 0.5)


def test_without_a_counter_or_a_right_to_read_it_the_reason_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "has no RAPL of a package" in RaplEnergy(tmp_path).missing
    Powercap(tmp_path)
    whole = Path.read_text

    def read(path: Path, *args: str) -> str:
        if path.name == "energy_uj":  # 0400 since Linux 5.10
            raise PermissionError(13, "Permission denied", str(path))
        return whole(path, *args)

    monkeypatch.setattr(Path, "read_text", read)
    missing = RaplEnergy(tmp_path).missing
    assert "intel-rapl:0/energy_uj may not be read: Permission denied; run as root" in missing


class Load(Prepared):
    """Takes 25 W while it is timed, in calls of 4 ms."""

    def __init__(self, powercap: Powercap) -> None:
        self.powercap, self.uj = powercap, 0
        self.call: Callable[[], object] = lambda: None

    def time(self, *, measure_s: float, resolution_s: float) -> Timed:
        self.uj += round(25e6 * measure_s)
        self.powercap.set("intel-rapl:1", self.uj)
        return Timed([0.003, 0.004, 0.005], 1.0, measure_s)

    def run(self, inputs: Mapping[str, Array]) -> list[Array]:
        return []


def test_energy_per_call_is_the_power_times_the_latency(tmp_path: Path) -> None:
    powercap = Powercap(tmp_path)
    taken = energy_per_call_j(
        RaplEnergy(tmp_path), Load(powercap), seconds=0.5, resolution_s=1e-8
    )  # fmt: skip
    assert taken == pytest.approx(25 * 0.004)
