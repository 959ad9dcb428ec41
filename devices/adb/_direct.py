"""adb-shell backend: pure Python, straight to the phone over TCP or USB, no adb server."""

from __future__ import annotations

import io
import socket
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from latprof.devices.adb._keys import ensure_key
from latprof.devices.adb._transport import Transport
from latprof.errors import (
    DeviceError,
    DeviceLostError,
    DeviceTimeoutError,
    ProtocolError,
    UnknownDeviceError,
)
from latprof.vocabulary import require

__all__ = ["ERRORS", "DirectTransport", "usb_serials"]

#: Every exception class of adb-shell, and ours for it.
ERRORS: dict[str, type[DeviceError]] = {
    "AdbCommandFailureException": DeviceError,
    "AdbConnectionError": DeviceLostError,
    "AdbTimeoutError": DeviceTimeoutError,
    "DeviceAuthError": DeviceError,
    "DevicePathInvalidError": DeviceError,
    "InvalidChecksumError": ProtocolError,
    "InvalidCommandError": ProtocolError,
    "InvalidResponseError": ProtocolError,
    "InvalidTransportError": DeviceError,
    "PushFailedError": DeviceError,
    "TcpTimeoutException": DeviceTimeoutError,
    "UsbDeviceNotFoundError": DeviceLostError,
    "UsbReadFailedError": DeviceLostError,
    "UsbWriteFailedError": DeviceLostError,
}

#: A push or pull that moves nothing for this long is taken for hung.
TRANSFER_S = 30.0

_AUTHORISE = (
    "the phone has not authorized this computer; unlock it, tap 'Allow' under 'Allow USB "
    "debugging?', and run the same command again"
)


class DirectTransport(Transport):
    """``serial`` is ``HOST:PORT`` (TCP) or a USB serial number; "" takes the only USB phone.

    Args:
        key: the private key's path; the user's ~/.android/adbkey by default.
        connect_s: limit for connecting.
        authorize_s: how long to wait for a tap on the phone's screen.
        on_prompt: called when the phone is asking its owner.
    """

    def __init__(
        self,
        serial: str,
        *,
        key: Path | None = None,
        connect_s: float = 5.0,
        authorize_s: float = 30.0,
        on_prompt: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(serial)
        self._key, self._connect_s, self._authorize_s = key, connect_s, authorize_s
        self._on_prompt = on_prompt
        self._device: Any = None
        self._connected()

    def _connected(self) -> Any:
        """The connection; a new one after ``close`` or after an interrupted command."""
        if self._device is not None:
            return self._device
        private, public = ensure_key(self._key)
        signer = require("adb_shell.auth.sign_pythonrsa", extra="adb", why="adb").PythonRSASigner
        asked = False

        def prompted(_device: object) -> None:
            nonlocal asked
            asked = True
            self._on_prompt()

        with self._mapped(f"cannot connect within {self._connect_s:g} s"):
            device = _open(self.serial, self._connect_s)
            try:
                device.connect(
                    rsa_keys=[signer(public, private)],
                    transport_timeout_s=self._connect_s,
                    auth_timeout_s=self._authorize_s,
                    read_timeout_s=self._connect_s,
                    auth_callback=prompted,
                )
            except Exception as exc:
                device.close()
                if asked:
                    raise DeviceError(f"{self.serial}: {_AUTHORISE}") from exc
                raise
        self._device = device
        return device

    def _output(self, command: str, silence_s: float) -> Generator[bytes, None, None]:
        device = self._connected()
        try:
            with self._mapped("while a command ran"):
                yield from device.streaming_shell(
                    command, transport_timeout_s=silence_s, read_timeout_s=silence_s, decode=False
                )
        except BaseException:
            # Stopped in the middle: hanging up ends the command on the phone, and what was left
            # of a half-read message cannot be taken for an answer to the next one.
            self.close()
            raise

    def _send(self, data: bytes, path: str, mode: int, on_bytes: Callable[[int], None]) -> None:
        with self._mapped(f"cannot push {path}"):
            self._connected().push(
                _Counted(data, on_bytes),
                path,
                st_mode=0o100000 | mode,
                transport_timeout_s=TRANSFER_S,
                read_timeout_s=TRANSFER_S,
            )

    def pull(self, path: str) -> bytes:
        stream = io.BytesIO()
        with self._mapped(f"cannot pull {path}"):
            self._connected().pull(
                path, stream, transport_timeout_s=TRANSFER_S, read_timeout_s=TRANSFER_S
            )
        return stream.getvalue()

    def close(self) -> None:
        if self._device is not None:
            self._device.close()
        self._device = None

    @contextmanager
    def _mapped(self, doing: str) -> Iterator[None]:
        """adb-shell's errors and the socket's as ours."""
        exceptions = require("adb_shell.exceptions", extra="adb", why="reaching a phone")
        theirs = tuple(getattr(exceptions, name) for name in ERRORS)
        usb = sys.modules.get("usb1")
        usb_errors: tuple[type[Exception], ...] = (usb.USBError,) if usb else ()
        try:
            yield
        except theirs as exc:
            ours = ERRORS[type(exc).__name__]
            said = " ".join(str(exc).split())[:200]
            raise ours(f"{self.serial or 'phone'}: {doing}: {said}; {_hint(ours)}") from exc
        except usb_errors as exc:
            raise DeviceError(
                f"{self.serial or 'phone'}: {doing}: {exc!r}; if an adb server holds the phone, "
                "stop it (adb kill-server) or use --set backend=server; on Linux a udev rule may "
                "be missing (Debian: apt install android-sdk-platform-tools-common)"
            ) from exc
        except OSError as exc:  # refused, reset, no route; a closed socket
            raise DeviceLostError(
                f"{self.serial or 'phone'}: {doing}: {exc}; {_hint(DeviceLostError)}"
            ) from exc


def _hint(error: type[DeviceError]) -> str:
    if issubclass(error, DeviceTimeoutError):
        return "wake the phone, check the cable, and run the same command again"
    if issubclass(error, DeviceLostError):
        return "check the cable and that USB debugging is on; `latprof devices` lists phones"
    return "run the same command again; if it repeats, try --set backend=server"


def _open(serial: str, connect_s: float) -> Any:
    module = require("adb_shell.adb_device", extra="adb", why="reaching a phone")
    host, colon, port = serial.rpartition(":")
    if colon:
        if not port.isdigit():
            raise UnknownDeviceError(f"phone is {serial!r}; expected SERIAL or HOST:PORT")
        return module.AdbDevice(_tcp(host, int(port)), default_transport_timeout_s=connect_s)
    _require_usb()
    return module.AdbDeviceUsb(serial or None, default_transport_timeout_s=connect_s)


def usb_serials() -> list[str]:
    """Serial numbers of the phones on this machine's USB."""
    usb = _require_usb()
    try:
        return sorted(phone.serial_number for phone in usb.UsbTransport.find_all_adb_devices())
    except Exception as exc:
        raise DeviceError(f"cannot list phones on USB: {exc}; use --set backend=server") from exc


def _require_usb() -> Any:
    """adb-shell's transport over USB."""
    why = "reaching a phone over USB without the adb server"
    try:
        require("usb1", extra="adb", why=why)
        return require("adb_shell.transport.usb_transport", extra="adb", why=why)
    except OSError as exc:  # they are there, and the C library that they load is not
        raise DeviceError(
            f"libusb does not load ({exc.strerror or exc}); install it (Debian: apt install "
            "libusb-1.0-0), or use the adb server with --set backend=server"
        ) from exc


def _tcp(host: str, port: int) -> Any:
    """adb-shell's TCP transport, mended in three places.

    It takes a closed socket for a slow one and spins on it until the time is up; it sends a message
    once whether or not the socket took all of it, which garbles large pushes; and it leaves Nagle's
    algorithm on, which makes every command wait 40 ms for an acknowledgement.
    """
    base = require("adb_shell.transport.tcp_transport", extra="adb", why="reaching a phone")

    class Tcp(base.TcpTransport):  # type: ignore[misc, name-defined]  # untyped, found at run time
        def connect(self, transport_timeout_s: float | None) -> None:
            super().connect(transport_timeout_s)
            self._connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        def bulk_read(self, numbytes: int, transport_timeout_s: float | None = None) -> bytes:
            data: bytes = super().bulk_read(numbytes, transport_timeout_s)
            if not data:
                raise ConnectionResetError("the phone closed the connection")
            return data

        def bulk_write(self, data: bytes, transport_timeout_s: float | None = None) -> int:
            sent = 0
            while sent < len(data):
                sent += super().bulk_write(data[sent:], transport_timeout_s)
            return sent

    return Tcp(host, port)


class _Counted(io.BytesIO):
    """Bytes that tell how many of them have been read: adb-shell's own callback needs a file."""

    def __init__(self, data: bytes, on_bytes: Callable[[int], None]) -> None:
        super().__init__(data)
        self._on_bytes = on_bytes

    def read(self, size: int | None = -1, /) -> bytes:
        chunk = super().read(size)
        self._on_bytes(self.tell())
        return chunk
