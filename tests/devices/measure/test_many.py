"""Several devices at once share a plan, and lose nothing when one dies."""

from __future__ import annotations

import threading
from collections import Counter
from pathlib import Path

import pytest

from latprof.devices import Device, Event, FakeDevice, ScheduleSettings, open_device, profile_many
from latprof.errors import DeviceLostError, UsageError
from latprof.workloads import Conv2d, Workload

QUICK = ScheduleSettings(pause_s=1e-9, min_rounds=3, max_rounds=4)
CONVS = [Conv2d(7, 7, 16, 8 + i) for i in range(150)]


class Meeting(FakeDevice):
    """Devices that wait for each other in their first round, so that each takes part."""

    barrier: threading.Barrier

    def round(self, jobs, *, measure_s, budget=None):  # type: ignore[no-untyped-def]
        if self.readings == 0:
            self.barrier.wait(10)
        yield from super().round(jobs, measure_s=measure_s)


def meeting(*devices: Meeting) -> list[Meeting]:
    barrier = threading.Barrier(len(devices))
    for device in devices:
        device.barrier = barrier
    return list(devices)


def test_devices_of_one_target_share_the_shapes() -> None:
    devices = meeting(Meeting(), Meeting(), Meeting())
    rows = list(profile_many(devices, CONVS, settings=QUICK))
    assert Counter(row.workload for _, row in rows) == Counter(CONVS)
    assert {target for target, _ in rows} == {devices[0].target}
    assert all(32 <= len(set(device.log)) < len(CONVS) for device in devices)


def test_each_target_gets_the_whole_plan() -> None:
    devices = meeting(Meeting(seed=1), Meeting(seed=2), Meeting(seed=2))
    rows = list(profile_many(devices, CONVS, settings=QUICK))
    for device in devices:
        mine = {row.workload: row for target, row in rows if target == device.target}
        assert set(mine) == set(CONVS)
        assert all(row.latency_s == pytest.approx(device.law_s(w)) for w, row in mine.items())


def test_a_device_that_dies_gives_its_shapes_back(tmp_path: Path) -> None:
    devices = meeting(Meeting(faults=dict.fromkeys(range(60, 99), "die")), Meeting())
    journals = [tmp_path / "a.jsonl", tmp_path / "b.jsonl"]
    rows = list(profile_many(devices, CONVS, settings=QUICK, journals=journals))
    assert Counter(row.workload for _, row in rows) == Counter(CONVS)
    assert 60 < devices[0].readings < 70


def test_when_all_are_gone_the_journals_go_on(tmp_path: Path) -> None:
    dying = dict.fromkeys(range(130, 999), "die")
    journals = [tmp_path / "a.jsonl", tmp_path / "b.jsonl"]
    first = meeting(Meeting(faults=dying), Meeting(faults=dying))
    done: list[Workload] = []

    def drain() -> None:
        for _, row in profile_many(first, CONVS, settings=QUICK, journals=journals):
            done.append(row.workload)

    with pytest.raises(DeviceLostError, match=r"every device is gone, .* not measured.*die on"):
        drain()
    assert done
    again = meeting(Meeting(), Meeting())
    rows = list(profile_many(again, CONVS, settings=QUICK, journals=journals))
    assert Counter(row.workload for _, row in rows) == Counter(CONVS)
    remeasured = {job for device in again for job in device.log} & set(done)
    assert not remeasured


def test_leaving_early_stops_every_thread() -> None:
    before = threading.active_count()
    rows = profile_many([FakeDevice(), FakeDevice()], CONVS, settings=QUICK)
    next(rows)
    rows.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before


def test_mistakes_in_the_callback_are_not_swallowed() -> None:
    def wrong(device: Device, event: Event) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(profile_many([FakeDevice()], CONVS, settings=QUICK, on_event=wrong))


def test_one_journal_per_device(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="1 journals for 2 devices"):
        list(profile_many([FakeDevice()] * 2, CONVS, journals=[tmp_path / "one"]))


def test_two_real_processes_share_a_plan() -> None:
    with open_device("local", affinity="0") as a, open_device("local", affinity="1") as b:
        quick = ScheduleSettings(
            round_s=0.001, min_rounds=2, max_rounds=2, min_core_share=0.0, max_slowdown=99
        )
        rows = list(profile_many([a, b], CONVS[:70], settings=quick))
    assert Counter(row.workload for _, row in rows) == Counter(CONVS[:70])
