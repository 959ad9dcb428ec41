"""adbutils backend: through the adb server, which shares the phone and knows wireless pairing."""

from __future__ import annotations

import socket
import struct
import subprocess
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import Any

from latprof.devices.adb._transport import Transport
from latprof.errors import (
    DeviceError,
    DeviceLostError,
    DeviceTimeoutError,
    ProtocolError,
    UnknownDeviceError,
)
from latprof.vocabulary import require

__all__ = ["ERRORS", "STATE_HINTS", "ServerTransport", "client", "server_answers", "server_phones"]

#: Every exception class of adbutils, and ours for it.
ERRORS: dict[str, type[DeviceError]] = {
    "AdbConnectionError": DeviceLostError,
    "AdbError": DeviceError,
    "AdbInstallError": DeviceError,
    "AdbSyncError": DeviceError,
    "AdbTimeout": DeviceTimeoutError,
}

#: A push or pull that moves nothing for this long is taken for hung.
TRANSFER_S = 30.0

_START_S = 20.0

_CHUNK = 64 << 10  # the sync protocol's largest DATA
_ID_AND_SIZE = struct.Struct("<4sI")

#: What the adb server says of a phone that is gone, as it spells it.
_GONE = ("not found", "offline", "connection closed", "closed", "device still connecting")

#: What to do about a phone in each of adb's states.
STATE_HINTS = {
    "unauthorized": "unlock it, tap 'Allow' under 'Allow USB debugging?'",
    "authorizing": "unlock it, tap 'Allow' under 'Allow USB debugging?'",
    "offline": "reconnect its cable, or switch USB debugging off and on",
    "no": "add a udev rule for it (Debian: apt install android-sdk-platform-tools-common)",
}


def client(host: str = "", port: int = 0) -> Any:
    """adbutils' client of the adb server at host:port; the environment's, or 127.0.0.1:5037.

    A server that does not run is started here: adbutils would do it too, loudly, and leave the
    refused socket open.
    """
    adbutils = require("adbutils", extra="adb", why="reaching phones through the adb server")
    adb = adbutils.AdbClient(host=host or None, port=port or None)
    if not server_answers(adb.host, adb.port):
        with _mapped("adb server"):
            command = [adbutils.adb_path(), "-P", str(adb.port), "start-server"]
            started = subprocess.run(
                command, capture_output=True, text=True, timeout=_START_S, check=False
            )
        if started.returncode:
            raise DeviceError(f"adb server did not start: {started.stderr.strip()}")
    return adb


def server_answers(host: str, port: int) -> bool:
    """Whether something listens at host:port."""
    try:
        with socket.create_connection((host, port), timeout=1.0):
            return True
    except OSError:
        return False


def server_phones(adb: Any) -> dict[str, tuple[str, str]]:
    """Serial -> (state, model) of every phone the server knows, usable or not."""
    with _mapped("adb server"):
        return {
            phone.serial: (phone.state, phone.tags.get("model", "").replace("_", " "))
            for phone in sorted(adb.list(extended=True), key=lambda phone: phone.serial)
        }


class ServerTransport(Transport):
    """``serial`` as ``adb devices`` prints it; ``HOST:PORT`` is connected to where it is not.

    Args:
        adb: ``client()``.
        connect_s: limit for connecting and for the phone to become usable.
    """

    def __init__(self, serial: str, *, adb: Any, connect_s: float = 5.0) -> None:
        super().__init__(serial)
        with _mapped(serial):
            if ":" in serial and serial not in server_phones(adb):
                said = adb.connect(serial, timeout=connect_s)
                if "connected" not in said and "authenticate" not in said:
                    raise DeviceLostError(
                        f"{serial}: {said}; check that the phone is on this network with wireless "
                        "debugging on, and paired: adb pair HOST:PORT"
                    )
            state = _await_state(adb, serial, connect_s)
            if state != "device":
                hint = STATE_HINTS.get(state, "check its cable and its screen")
                error = UnknownDeviceError if state == "absent" else DeviceError
                raise error(f"{serial}: the phone is {state}; {hint}, and run it again")
        self._adb = adb

    def _output(self, command: str, silence_s: float) -> Generator[bytes, None, None]:
        with _mapped(self.serial), self._open(f"shell:{command}", silence_s) as connection:
            while chunk := connection.conn.recv(_CHUNK):
                yield chunk

    def _send(self, data: bytes, path: str, mode: int, on_bytes: Callable[[int], None]) -> None:
        # adbutils' own push sends without looking how much the socket took
        target = f"{path},{0o100000 | mode}".encode()
        with _mapped(self.serial), self._open("sync:", TRANSFER_S) as connection:
            connection.conn.sendall(_ID_AND_SIZE.pack(b"SEND", len(target)) + target)
            for start in range(0, len(data), _CHUNK):
                chunk = data[start : start + _CHUNK]
                connection.conn.sendall(_ID_AND_SIZE.pack(b"DATA", len(chunk)) + chunk)
                on_bytes(start + len(chunk))
            connection.conn.sendall(_ID_AND_SIZE.pack(b"DONE", int(time.time())))
            self._answer(connection, b"OKAY")

    def pull(self, path: str) -> bytes:
        target = path.encode()
        data = bytearray()
        with _mapped(self.serial), self._open("sync:", TRANSFER_S) as connection:
            connection.conn.sendall(_ID_AND_SIZE.pack(b"RECV", len(target)) + target)
            while (size := self._answer(connection, b"DATA", b"DONE")) is not None:
                data += connection.read_exact(size)
        return bytes(data)

    def close(self) -> None:
        """Nothing to let go: each command has its own connection to the server."""

    def _open(self, service: str, silence_s: float) -> Any:
        # adbutils' own open_transport asks for the server's version each time, and leaks its socket
        # where the phone is gone.
        connection = self._adb.make_connection(timeout=silence_s)
        try:
            for request in (f"host:transport:{self.serial}", service):
                connection.send_command(request)
                connection.check_okay()
        except BaseException:
            connection.close()
            raise
        return connection

    def _answer(self, connection: Any, *expected: bytes) -> int | None:
        """Size of the sync message that comes, None for the last one; the phone's FAIL raises."""
        kind, size = _ID_AND_SIZE.unpack(connection.read_exact(_ID_AND_SIZE.size))
        if kind == b"FAIL":
            said = connection.read_exact(size).decode(errors="replace")
            raise DeviceError(f"{self.serial}: the phone refused the file: {said}")
        if kind not in expected:
            raise ProtocolError(f"{self.serial}: sync answer is {kind!r}; expected {expected!r}")
        return size if kind == b"DATA" else None


def _await_state(adb: Any, serial: str, limit_s: float) -> str:
    """The phone's state once it has settled: a new connection is offline for a moment."""
    deadline = time.monotonic() + limit_s
    while True:
        state, _ = server_phones(adb).get(serial, ("absent", ""))
        settled = state not in ("offline", "authorizing", "connecting")
        if settled or time.monotonic() > deadline:
            return state
        time.sleep(0.05)


@contextmanager
def _mapped(serial: str) -> Iterator[None]:
    """adbutils' errors and the socket's as ours."""
    errors = require("adbutils.errors", extra="adb", why="reaching phones through the adb server")
    theirs = tuple(getattr(errors, name) for name in ERRORS)
    try:
        yield
    except (DeviceError, UnknownDeviceError):
        raise
    except theirs as exc:
        said = " ".join(str(exc).split())
        ours = ERRORS[type(exc).__name__]
        if ours is DeviceError and any(word in said for word in _GONE):
            ours = DeviceLostError
        raise ours(f"{serial}: {said}; `latprof devices` lists the phones that answer") from exc
    except ValueError as exc:  # a length that is no number
        raise ProtocolError(
            f"{serial}: what answers on the adb server's port is no adb server ({exc}); see "
            "ANDROID_ADB_SERVER_PORT, or use --set backend=direct"
        ) from exc
    except (TimeoutError, subprocess.TimeoutExpired) as exc:
        raise DeviceTimeoutError(
            f"{serial}: no answer in time; wake the phone, check the cable, and run it again"
        ) from exc
    except (OSError, EOFError) as exc:
        raise DeviceLostError(
            f"{serial}: the connection broke ({exc}); check the cable and run the same command "
            "again; without an adb binary, use --set backend=direct"
        ) from exc
