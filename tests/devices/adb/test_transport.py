"""Laws of the transport on both backends; Debian's own adb against the stand-in adbd."""

from __future__ import annotations

import inspect
import os
import shutil
import socket
import stat
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import adb_shell.exceptions
import adbutils.errors
import pytest
from support.adbd import VERSION, Phone

from latprof.devices.adb import _direct, _server
from latprof.devices.adb._direct import DirectTransport
from latprof.devices.adb._keys import ensure_key
from latprof.devices.adb._server import client, server_phones
from latprof.devices.adb._transport import Transport, quote, run_checked
from latprof.errors import (
    DeviceError,
    DeviceLostError,
    DeviceTimeoutError,
    ProtocolError,
    UnknownDeviceError,
)

pytest_plugins = ["support.adb"]

Connect = Callable[..., Transport]


@pytest.mark.parametrize("size", [0, 1, 65_536, 300_001])
def test_pull_gives_what_was_pushed(connect: Connect, phone: Phone, size: int) -> None:
    data, path = os.urandom(size), '/data/local/tmp/it\'s a "name"; $(rm) `x` é'
    transport = connect(phone)
    told: list[int] = []
    transport.push(data, path, on_bytes=told.append)
    assert transport.pull(path) == data
    assert told == sorted(told)
    assert size == 0 or told[-1] == size


def test_large_pushes_arrive_whole(connect: Connect, phone: Phone) -> None:
    data = os.urandom(9_000_000)
    transport = connect(phone)
    transport.push(data, "/data/local/tmp/large")
    assert (phone.tmp / "large").read_bytes() == data


@pytest.mark.parametrize(
    ("command", "output", "code"),
    [
        ("true", "", 0),
        ("exit 3", "", 3),
        ("echo a; echo b >&2; false", "a\nb", 1),
        ("printf 'no newline'", "no newline", 0),
        ("printf 'a\\r\\nb\\r\\n'", "a\nb", 0),
        ("printf '\\377x\\n'", "\ufffdx", 0),
        ("nonexistent 2>/dev/null", "", 127),
        ("getprop ro.product.model", "Pixel 6", 0),
    ],
)
def test_output_and_exit_code(
    connect: Connect, phone: Phone, command: str, output: str, code: int
) -> None:
    result = connect(phone).run(command)
    assert (result.output, result.code) == (output, code)


def test_long_output_comes_whole(connect: Connect, phone: Phone) -> None:
    lines = connect(phone).run("seq 1 200000").output.splitlines()
    assert lines == [str(i) for i in range(1, 200_001)]


def test_a_failed_command_says_so(connect: Connect, phone: Phone) -> None:
    with pytest.raises(DeviceError, match="exited with 2 and printed: oh no"):
        run_checked(connect(phone), "echo oh no; exit 2")


def test_stopping_early_leaves_a_usable_transport(connect: Connect, phone: Phone) -> None:
    transport = connect(phone)
    stream = transport.stream("seq 1 100000; sleep 30")
    assert next(stream) == "1"
    stream.close()
    assert transport.run("echo still here").output == "still here"
    transport.close()
    transport.close()


def test_storage_full(connect: Connect, phone: Phone) -> None:
    phone.faults.add("storage_full")
    with pytest.raises(DeviceError, match="No space left on device"):
        connect(phone).push(b"x" * 1000, "/data/local/tmp/x")


def test_a_truncated_push_is_noticed(connect: Connect, phone: Phone) -> None:
    phone.faults.add("truncate_push")
    with pytest.raises(DeviceError, match="pushed 1000 bytes as x, the phone holds 500"):
        connect(phone).push(b"x" * 1000, "/data/local/tmp/x")


def test_unplugged_in_the_middle_of_a_push(connect: Connect, phone: Phone) -> None:
    transport = connect(phone)
    phone.faults.add("unplug_push")
    with pytest.raises(DeviceLostError):
        transport.push(os.urandom(5_000_000), "/data/local/tmp/x")


def test_unplugged_in_the_middle_of_a_run(connect: Connect, phone: Phone) -> None:
    transport = connect(phone)
    phone.faults.add("unplug_run")
    start_s = time.monotonic()
    with pytest.raises(DeviceLostError):
        transport.run("seq 1 100000; sleep 20; : benchmark_model")
    assert time.monotonic() - start_s < 5


def test_silence_ends_in_a_timeout(connect: Connect, phone: Phone) -> None:
    transport = connect(phone)
    start_s = time.monotonic()
    with pytest.raises(DeviceTimeoutError):
        transport.run("echo one; sleep 20", silence_s=0.5)
    assert time.monotonic() - start_s < 5


def test_pulling_what_is_not_there(connect: Connect, phone: Phone) -> None:
    with pytest.raises(DeviceError, match="No such file"):
        connect(phone).pull("/data/local/tmp/nothing")


def test_nobody_at_the_port(connect: Connect, phone: Phone) -> None:
    phone.__exit__()
    with pytest.raises((DeviceLostError, UnknownDeviceError), match=r"127\.0\.0\.1"):
        connect(phone)


@pytest.mark.parametrize(
    ("greeting", "error"),
    [(b"SSH-2.0-OpenSSH_9.2 and then some\r\n", ProtocolError), (b"", DeviceTimeoutError)],
)
def test_something_else_at_the_port(
    tmp_path: Path, greeting: bytes, error: type[DeviceError]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def greet() -> None:
            wire, _ = listener.accept()
            with wire:
                wire.sendall(greeting)
                time.sleep(1)

        thread = threading.Thread(target=greet)
        thread.start()
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(error, match=address):
            DirectTransport(address, key=tmp_path / "adbkey", connect_s=0.5)
        thread.join()


def test_no_adb_server_at_its_port(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            listener.accept()[0].close()  # looking whether a server is there
            wire, _ = listener.accept()
            with wire:
                wire.recv(100)
                wire.sendall(b"OKAYHTTP/1.1")

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(ProtocolError, match="no adb server"):
            server_phones(client(port=listener.getsockname()[1]))
        thread.join()


@pytest.mark.skipif(shutil.which("adb") is None, reason="adb: scripts/debian-packages")
def test_the_adb_server_is_started_where_none_runs(capfd: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    try:
        assert server_phones(client(port=port)) == {}
    finally:
        subprocess.run(["adb", "-P", str(port), "kill-server"], check=True)
    assert capfd.readouterr() == ("", "")


def test_usb_errors_are_mapped(connect: Connect, phone: Phone) -> None:
    usb = pytest.importorskip("usb1")
    transport = connect(phone)
    if isinstance(transport, DirectTransport):
        with pytest.raises(DeviceError, match="adb kill-server"), transport._mapped("opening"):
            raise usb.USBErrorBusy(-6)


def test_unauthorized(connect: Connect, tmp_path: Path) -> None:
    with Phone(tmp_path / "stranger", allow=False) as stranger:
        with pytest.raises(DeviceError, match="Allow"):
            connect(stranger, connect_s=1.5, authorize_s=1.0)
        assert stranger.prompts


def test_a_tap_on_allow_is_asked_once(tmp_path: Path) -> None:
    asked: list[str] = []
    key = tmp_path / "keys/adbkey"
    with Phone(tmp_path / "phone") as stranger:
        for _ in range(2):
            DirectTransport(stranger.serial, key=key, on_prompt=lambda: asked.append("tap")).close()
    assert asked == ["tap"]


def test_phones_that_check_data_sums(tmp_path: Path) -> None:
    with Phone(tmp_path / "old", version=VERSION) as old:
        transport = DirectTransport(old.serial, key=tmp_path / "adbkey")
        transport.push(b"abc" * 10_000, "/data/local/tmp/x")
        assert transport.pull("/data/local/tmp/x") == b"abc" * 10_000
        transport.close()


def test_the_key_is_made_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / ".android/adbkey"
    private, public = ensure_key(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) & 0o077 == 0
    assert ensure_key(path) == (private, public)
    path.with_name("adbkey.pub").unlink()
    assert ensure_key(path)[1].split()[0] == public.split()[0]


def test_a_key_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "adbkey").mkdir()
    with pytest.raises(DeviceError, match="adb key"):
        ensure_key(tmp_path / "adbkey")


@pytest.mark.parametrize(
    ("module", "ours"),
    [(adb_shell.exceptions, _direct.ERRORS), (adbutils.errors, _server.ERRORS)],
)
def test_every_error_of_the_backend_is_mapped(module: Any, ours: dict[str, Any]) -> None:
    theirs = {
        name
        for name, kind in inspect.getmembers(module, inspect.isclass)
        if issubclass(kind, Exception) and kind.__module__ == module.__name__
    }
    assert set(ours) == theirs
    assert all(issubclass(kind, DeviceError) for kind in ours.values())


def test_quoting_is_the_shells() -> None:
    assert quote("a b", "c'd", "$x") == "'a b' 'c'\"'\"'d' '$x'"


def test_debians_adb_connects_pushes_pulls_and_runs(
    adb: Callable[..., Any], phone: Phone, tmp_path: Path
) -> None:
    here, there, back = tmp_path / "here", "/data/local/tmp/there", tmp_path / "back"
    here.write_bytes(os.urandom(700_000))
    assert "connected" in adb("connect", phone.serial).stdout
    assert "model:Pixel_6" in adb("devices", "-l").stdout
    assert adb("-s", phone.serial, "push", str(here), there).returncode == 0
    assert adb("-s", phone.serial, "pull", there, str(back)).returncode == 0
    assert back.read_bytes() == here.read_bytes()
    told = adb("-s", phone.serial, "shell", "getprop ro.product.model; echo err >&2; exit 7")
    assert (told.returncode, told.stdout, told.stderr) == (7, "Pixel 6\n", "err\n")
    assert "there" in adb("-s", phone.serial, "ls", "/data/local/tmp").stdout
    adb("disconnect", phone.serial)
