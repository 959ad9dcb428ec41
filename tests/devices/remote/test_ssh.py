"""The ssh device, against a real sshd on loopback."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from support.devices import SSHD, Sshd, start_sshd

from latprof.devices import Device, Event, ScheduleSettings, open_device, profile
from latprof.devices.agent.runtimes._onnx_model import write_onnx
from latprof.errors import DeviceError, DeviceLostError, ProtocolError, UnknownDeviceError
from latprof.workloads import Conv2d, MatMul

pytestmark = pytest.mark.skipif(
    not (Path(SSHD).exists() and shutil.which("ssh")), reason="needs sshd and ssh (openssh)"
)
QUICK = ScheduleSettings(
    round_s=0.001, min_rounds=3, max_rounds=3, pause_s=1e-9, min_core_share=0.0, max_slowdown=99
)
CONVS = [Conv2d(7, 7, 16, c) for c in range(8, 20)]


@pytest.fixture
def sshd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sshd]:
    server = start_sshd(tmp_path)
    monkeypatch.setenv("LATPROF_SSH_OPTIONS", server.options)
    try:
        yield server
    finally:
        server.stop()


def box(**settings: str) -> Device:
    python = settings.pop("python", sys.executable)
    runtime = settings.pop("runtime", "onnxruntime")
    return open_device("ssh:box", runtime=runtime, python=python, **settings)


@pytest.mark.parametrize("runtime", ["onnxruntime", "tflite"])
def test_a_host_without_latprof_measures(sshd: Sshd, runtime: str, tmp_path: Path) -> None:
    """Its Python sees the runtime and numpy only; ours arrives over the connection."""
    site = Path(np.__file__).parents[1]
    only = tmp_path / "only"
    only.mkdir()
    for name in ("numpy", "numpy.libs", "onnxruntime", "ai_edge_litert", "protobuf", "google"):
        if (site / name).exists():
            (only / name).symlink_to(site / name)
    for info in site.glob("ai_edge_litert-*.dist-info"):
        (only / info.name).symlink_to(info)
    python = f"env PYTHONPATH={only} {sys.executable} -S"
    with (
        box(python=python, runtime=runtime) as device,
        open_device("local", runtime=runtime) as here,
    ):
        assert device.target == here.target  # the same machine, after all
        rows = list(profile(device, CONVS, settings=QUICK))
    assert len(rows) == len(CONVS)
    assert all(row.samples_s for row in rows)


def test_model_files_travel(sshd: Sshd, tmp_path: Path) -> None:
    path = tmp_path / "op.onnx"
    path.write_bytes(write_onnx(MatMul(4, 8, 3)))
    x = np.random.default_rng(0).standard_normal((4, 8), dtype=np.float32)
    with box() as there, open_device("local") as here:
        np.testing.assert_array_equal(there.run(path, {"x": x})[0], here.run(path, {"x": x})[0])
        assert next(there.round([path], measure_s=0.001)).samples_s


def test_a_dropped_connection_costs_one_reading(sshd: Sshd) -> None:
    events: list[Event] = []

    def watch(event: Event) -> None:
        events.append(event)
        if len([e for e in events if e.kind == "reading"]) == 5 and event.kind == "reading":
            sshd.drop_connections()

    with box() as device:
        rows = list(profile(device, CONVS, settings=QUICK, on_event=watch))
    assert len(rows) == len(CONVS)
    assert "failed" not in {row.status for row in rows}
    assert [e.kind for e in events].count("lost") == 1


def test_a_host_that_goes_away_is_lost(sshd: Sshd, tmp_path: Path) -> None:
    journal = tmp_path / "run.jsonl"
    with box() as device, pytest.raises(DeviceLostError):
        list(
            profile(device, CONVS, settings=QUICK, journal=journal, on_event=lambda e: sshd.stop())
        )
    assert journal.read_bytes().count(b'"reading"') == 1


@pytest.mark.parametrize(
    ("break_it", "says"),
    [
        ("known_hosts", "its host key is not known.*run ssh box once"),
        ("authorized_keys", "ssh-copy-id box"),
        ("sshd", "does not answer on its ssh port"),
    ],
)
def test_what_is_wrong_with_the_connection_is_one_line(
    sshd: Sshd, break_it: str, says: str
) -> None:
    if break_it == "sshd":
        sshd.stop()
    else:
        (sshd.folder / break_it).write_text("")
    with pytest.raises(UnknownDeviceError, match=says) as caught:
        box()
    assert "\n" not in str(caught.value)


def test_a_shell_that_greets_is_named(sshd: Sshd) -> None:
    keys = sshd.folder / "authorized_keys"
    greeting = 'command="echo Welcome; eval \\"$SSH_ORIGINAL_COMMAND\\"" '
    keys.write_text(greeting + keys.read_text())
    with pytest.raises(ProtocolError, match=r"answered b'Welcome' to hello; .*start-up file"):
        box()


def test_an_unknown_host_is_named(sshd: Sshd) -> None:
    with pytest.raises(UnknownDeviceError, match=r"no host is called nowhere\.invalid"):
        open_device("ssh:nowhere.invalid")


def test_missing_python_is_one_line(sshd: Sshd) -> None:
    with pytest.raises(
        UnknownDeviceError, match="has no /no/such/python3; install it there, or name"
    ):
        box(python="/no/such/python3")


def test_missing_packages_are_one_line_each(sshd: Sshd, tmp_path: Path) -> None:
    bare = f"{sys.executable} -S"
    with pytest.raises(
        UnknownDeviceError, match=r"has no numpy; .*ssh box python3 -m pip install numpy"
    ):
        box(python=bare)
    (tmp_path / "only").mkdir()
    for name in ("numpy", "numpy.libs"):
        (tmp_path / "only" / name).symlink_to(Path(np.__file__).parents[1] / name)
    bare = f"env PYTHONPATH={tmp_path}/only {bare}"
    with pytest.raises(UnknownDeviceError, match="ssh:box has no onnxruntime; "):
        box(python=bare)
    with pytest.raises(UnknownDeviceError, match="ssh:box has no ai-edge-litert; "):
        box(python=bare, runtime="tflite")


@pytest.mark.parametrize("spec", ["ssh:", "ssh:-oProxyCommand=x", "ssh:box/cuda", "bluetooth:7"])
def test_specs_that_name_nothing(spec: str) -> None:
    with pytest.raises(UnknownDeviceError, match="expected"):
        open_device(spec)


def test_a_frozen_host_times_out_in_the_stated_time(sshd: Sshd) -> None:
    sleeper = f"{sys.executable} -c 'import time; time.sleep(60)' #"
    start = time.monotonic()
    with pytest.raises(DeviceError, match="no answer to hello within 2 s"):
        open_device("ssh:box", python=sleeper, limit_s=2.0)
    assert time.monotonic() - start < 8
