"""The journal: nothing measured is lost, nothing false is taken in."""

from __future__ import annotations

import itertools
import json
import os
from pathlib import Path

import pytest

from latprof.devices import BackgroundLoad, FakeDevice, ScheduleSettings, profile
from latprof.devices.measure import _journal
from latprof.devices.measure._journal import Journal
from latprof.errors import (
    DeviceLostError,
    FailureError,
    TableError,
    TargetMismatchError,
    UsageError,
)
from latprof.workloads import Conv2d

QUICK = ScheduleSettings(pause_s=1e-9, min_rounds=3, max_rounds=4)
CONVS = [Conv2d(7, 7, 16, 8 + i) for i in range(12)]
#: Readings of an undisturbed run: three rounds of twelve rows.
WHOLE_RUN = 3 * 12


def measure(device: FakeDevice, path: Path) -> dict[Conv2d, object]:
    rows = [*profile(device, CONVS, journal=path, settings=QUICK)]
    assert len(rows) == len({row.workload for row in rows}) == len(CONVS)
    return {row.workload: row for row in rows}


@pytest.mark.parametrize("at", range(1, WHOLE_RUN, 3))
def test_a_run_cut_anywhere_goes_on_without_measuring_again(tmp_path: Path, at: int) -> None:
    path = tmp_path / "run.jsonl"
    first = FakeDevice(faults=dict.fromkeys(range(at, at + 9), "die"))
    with pytest.raises(DeviceLostError):
        measure(first, path)
    second = FakeDevice()
    rows = measure(second, path)
    assert len(second.log) == WHOLE_RUN - at
    assert all(row.latency_s == pytest.approx(second.law_s(w)) for w, row in rows.items())


def test_a_finished_run_is_read_without_measuring(tmp_path: Path) -> None:
    before = measure(FakeDevice(), tmp_path / "run.jsonl")
    device = FakeDevice()
    assert measure(device, tmp_path / "run.jsonl") == before
    assert device.readings == 0


@pytest.mark.parametrize("torn", [b"{", b'{"reading": 3, "work', b'{"finished": {}}', b"\xff\xfe"])
def test_a_torn_last_line_is_dropped(tmp_path: Path, torn: bytes) -> None:
    path = tmp_path / "run.jsonl"
    before = measure(FakeDevice(), path)
    whole = path.read_bytes()
    path.write_bytes(whole + torn)
    assert measure(FakeDevice(), path) == before
    assert path.read_bytes() == whole


def test_every_prefix_of_the_file_resumes_to_the_same_table(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    measure(FakeDevice(), path)
    whole = path.read_bytes()
    for length in range(0, len(whole), 997):
        path.write_bytes(whole[:length])
        device = FakeDevice()
        rows = measure(device, path)
        assert all(row.latency_s == pytest.approx(device.law_s(w)) for w, row in rows.items())


def test_discards_survive_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    device = FakeDevice(
        loads=[BackgroundLoad(0.1, 0.2, 2.0)], faults=dict.fromkeys(range(40, 60), "die")
    )
    with pytest.raises(DeviceLostError):
        measure(device, path)
    assert any("discard" in json.loads(line) for line in path.read_bytes().splitlines())
    rows = measure(FakeDevice(), path)
    assert all(row.latency_s == pytest.approx(device.law_s(w)) for w, row in rows.items())


def test_another_target_is_refused(tmp_path: Path) -> None:
    measure(FakeDevice(seed=1), tmp_path / "run.jsonl")
    with pytest.raises(TargetMismatchError, match=r"journal .* is of another target"):
        measure(FakeDevice(seed=2), tmp_path / "run.jsonl")


def flipped(line: bytes, at: int) -> bytes:
    """``line`` with one digit changed into another, so that it is JSON as before."""
    digits = [i for i, byte in enumerate(line) if 48 <= byte < 57]
    i = digits[at % len(digits)]
    return line[:i] + bytes([line[i] + 1]) + line[i + 1 :]


@pytest.mark.parametrize("seed", range(25))
def test_a_changed_digit_never_changes_a_row(
    tmp_path: Path, seed: int, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "run.jsonl"
    before = measure(FakeDevice(), path)
    lines = path.read_bytes().splitlines()
    number = 1 + seed * 7 % (len(lines) - 1)
    lines[number] = flipped(lines[number], seed * 13)
    path.write_bytes(b"\n".join(lines) + b"\n")
    rows = measure(FakeDevice(), path)
    assert {w: row.latency_s for w, row in rows.items()} == {
        w: pytest.approx(row.latency_s) for w, row in before.items()
    }
    assert f"damaged at line {number + 1} and skipped" in caplog.text
    caplog.clear()
    measure(FakeDevice(), path)  # written anew without the damage
    assert not caplog.text


@pytest.mark.parametrize("line", [b"garbage", b'{"reading": 0}', b'{"colour": "red"}', b"\xff" * 9])
def test_a_damaged_line_costs_no_finished_row(
    tmp_path: Path, line: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "run.jsonl"
    before = measure(FakeDevice(), path)
    lines = path.read_bytes().splitlines()
    lines.insert(2, line)
    path.write_bytes(b"\n".join(lines) + b"\n")
    device = FakeDevice()
    assert measure(device, path) == before
    assert device.readings == 0
    assert "damaged at line 3 and skipped" in caplog.text


def test_a_lost_discard_makes_readings_of_unfinished_rows_be_taken_again(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    device = FakeDevice(
        loads=[BackgroundLoad(0.1, 0.2, core_share=0.5)],
        faults=dict.fromkeys(range(34, 60), "die"),
    )
    with pytest.raises(DeviceLostError):
        measure(device, path)
    lines = path.read_bytes().splitlines()
    at = next(i for i, line in enumerate(lines) if b'"discard"' in line)
    lines[at] = flipped(lines[at], 0)
    path.write_bytes(b"\n".join(lines) + b"\n")
    with Journal(path, FakeDevice().target) as journal:
        held = [r for readings in journal.readings.values() for r in readings.values()]
    assert all(reading.core_share > 0.9 for reading in held)
    rows = measure(FakeDevice(), path)
    assert all(row.latency_s == pytest.approx(FakeDevice().law_s(w)) for w, row in rows.items())


def as_version_3(path: Path) -> None:
    """The file as the version before wrote it: without checksums, a core_share called busy."""
    lines = [json.loads(line) for line in path.read_bytes().splitlines()]
    for line in lines:
        del line["crc32"]
        if "core_share" in line:
            line["busy"] = line.pop("core_share")
    lines[0]["journal"] = 3
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


@pytest.mark.parametrize("at", [5, 20, 30, None])
def test_a_journal_of_version_3_goes_on(tmp_path: Path, at: int | None) -> None:
    path = tmp_path / "run.jsonl"
    if at is None:
        measure(FakeDevice(), path)
    else:
        with pytest.raises(DeviceLostError):
            measure(FakeDevice(faults=dict.fromkeys(range(at, at + 9), "die")), path)
    as_version_3(path)
    second = FakeDevice()
    rows = measure(second, path)
    assert second.readings == (0 if at is None else WHOLE_RUN - at)
    assert all(row.latency_s == pytest.approx(second.law_s(w)) for w, row in rows.items())
    lines = [json.loads(line) for line in path.read_bytes().splitlines()]
    assert lines[0]["journal"] == 4
    assert all("crc32" in line and "busy" not in line for line in lines)


def test_a_damaged_first_line_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    measure(FakeDevice(seed=7), path)
    damaged = path.read_bytes().replace(b'"stair": "16"', b'"stair": "17"', 1)
    path.write_bytes(damaged)
    with pytest.raises(TableError, match=r"damaged in its first line.*delete it to begin anew"):
        measure(FakeDevice(seed=7), path)
    assert path.read_bytes() == damaged


@pytest.mark.parametrize("where", ["a" * 300 + ".journal", "file/run.journal", "folder"])
def test_what_the_system_refuses_is_one_line(tmp_path: Path, where: str) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    with pytest.raises(FailureError, match=r"^journal .* cannot be opened: .*again$") as caught:
        Journal(tmp_path / where, FakeDevice().target)
    assert "\n" not in str(caught.value)


def test_nothing_but_the_journal_is_left(tmp_path: Path) -> None:
    measure(FakeDevice(), tmp_path / "run.jsonl")
    assert [path.name for path in tmp_path.iterdir()] == ["run.jsonl"]


def test_a_file_that_is_no_journal_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text('{"title": "mine"}\n')
    with pytest.raises(TableError, match="no journal of version 3 or 4"):
        measure(FakeDevice(), path)
    assert path.read_text() == '{"title": "mine"}\n'


def test_two_writers_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    with Journal(path, FakeDevice().target), pytest.raises(UsageError, match="in use"):
        Journal(path, FakeDevice().target)


def test_a_full_disk_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a line is written, then the disk is full; the run stops, and goes on later."""
    path = tmp_path / "run.jsonl"
    real, count = os.write, itertools.count()

    def full(file: int, data: bytes) -> int:
        if next(count) < 20:
            return real(file, data)
        if len(data) > 50:
            return real(file, data[:30])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(_journal.os, "write", full)
        with pytest.raises(FailureError, match=r"No space left on device.*run the same command"):
            measure(FakeDevice(), path)
    device = FakeDevice()
    measure(device, path)
    assert len(device.log) >= WHOLE_RUN - 20
