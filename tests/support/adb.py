"""Phones for tests: fixtures over support/adbd.py."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.adbd import Phone, elf

from latprof.devices.adb._device import AdbDevice
from latprof.devices.adb._direct import DirectTransport
from latprof.devices.adb._keys import ensure_key
from latprof.devices.adb._open import open_phone
from latprof.devices.adb._server import ServerTransport, client
from latprof.devices.adb._transport import Transport

ADB = shutil.which("adb")


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home folder with an adb key."""
    folder = tmp_path_factory.mktemp("home")
    ensure_key(folder / ".android/adbkey")
    return folder


@pytest.fixture(scope="session")
def adb_server(home: Path) -> Iterator[dict[str, str]]:
    """Debian's adb server on a port of its own; gives the environment that reaches it."""
    if ADB is None:
        pytest.skip("no adb on the PATH")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    environment = {"HOME": str(home), "ANDROID_ADB_SERVER_PORT": port, "PATH": os.environ["PATH"]}
    subprocess.run(
        [ADB, "-P", port, "start-server"], env=environment, check=True, capture_output=True
    )
    yield environment
    subprocess.run([ADB, "-P", port, "kill-server"], env=environment, check=True)


@pytest.fixture
def adb(adb_server: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Runs Debian's adb client; the environment points adbutils at the same server."""
    port = adb_server["ANDROID_ADB_SERVER_PORT"]
    monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", port)

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(ADB), "-P", port, *arguments],
            env=adb_server, capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip

    return run


@pytest.fixture
def phone(tmp_path: Path, home: Path) -> Iterator[Phone]:
    """A phone that knows the key of ``home``."""
    key = (home / ".android/adbkey.pub").read_text()
    with Phone(tmp_path / "phone", authorized=(key,)) as made:
        yield made


@pytest.fixture(params=["direct", "server"])
def backend(request: pytest.FixtureRequest) -> str:
    if request.param == "server":
        request.getfixturevalue("adb")
    return str(request.param)


@pytest.fixture
def connect(backend: str, home: Path) -> Iterator[Callable[..., Transport]]:
    """Opens a transport of each backend in turn; closes them after the test."""
    opened: list[Transport] = []

    def make(phone: Phone, *, connect_s: float = 5.0, authorize_s: float = 30.0) -> Transport:
        if backend == "direct":
            transport: Transport = DirectTransport(
                phone.serial,
                key=home / ".android/adbkey",
                connect_s=connect_s,
                authorize_s=authorize_s,
            )
        else:
            transport = ServerTransport(phone.serial, adb=client(), connect_s=connect_s)
        opened.append(transport)
        return transport

    yield make
    for transport in opened:
        transport.close()


@pytest.fixture
def open_device(home: Path, tmp_path: Path) -> Iterator[Callable[..., AdbDevice]]:
    """Opens phones as a user would, by spec and settings; closes them after the test."""
    opened: list[AdbDevice] = []

    def make(
        phone: Phone, /, in_spec: str = "", *, tool: str = "litert1.0", **settings: str
    ) -> Any:
        binary = tmp_path / f"benchmark_model-{tool}"
        binary.write_bytes(elf(tool))
        given = {
            "backend": "direct", "key": str(home / ".android/adbkey"), "poll_s": "0.05",
            "return_s": "0.5", "benchmark_model": str(binary), **settings,
        }  # fmt: skip
        spec = f"adb:{phone.serial}" + (f"/{in_spec}" if in_spec else "")
        threads = int(given.pop("threads", "1"))
        limit_s = float(given.pop("limit_s", "60"))
        device = open_phone(spec, runtime="tflite", threads=threads, limit_s=limit_s, **given)
        opened.append(device)
        return device

    yield make
    for device in opened:
        device.close()
