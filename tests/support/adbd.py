"""A stand-in adbd: the real ADB wire protocol on a loopback port, over a scratch folder.

What it speaks: CNXN, AUTH (RSA), OPEN/OKAY/WRTE/CLSE with flow control, the ``shell:``,
``shell,v2:``, ``exec:`` and ``sync:`` services (STAT, LIST, SEND, RECV). Debian's own adb client
connects to it in the tests. The phone behind it is ``support/phone``: its commands come first on
the shell's PATH and its files (/data, /sys, /proc) live under the scratch folder.

Faults are switched on by name (``phone.faults.add("unplug_push")``); see FAULTS.
"""

from __future__ import annotations

import atexit
import base64
import contextlib
import functools
import os
import re
import secrets
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import rsa
from support.adbd_services import MAX_DATA, SERVICES, Stream
from support.phone.make_root import make_root

HEADER = struct.Struct("<4sIIIII")
VERSION, VERSION_SKIP_CHECKSUM = 0x01000000, 0x01000001
TOKEN, SIGNATURE, PUBLIC_KEY = 1, 2, 3
PHONE = Path(__file__).parent / "phone"

#: What can be made to go wrong, by name.
FAULTS = (
    "unauthorized",  # nobody taps Allow
    "unplug_push",  # the connection drops in the middle of the next SEND
    "unplug_run",  # the connection drops in the middle of the next shell's output
    "reboot_run",  # likewise, and the phone comes back with another boot id
    "hang_run",  # the next shell prints nothing more and never ends
    "storage_full",  # SEND fails as adbd fails on ENOSPC
    "truncate_push",  # SEND keeps only half of the bytes and says OKAY
)


class Phone:
    """One phone on one port. ``with Phone(folder) as phone: ... phone.serial``.

    Args:
        root: scratch folder that becomes the phone's ``/``.
        serial: what getprop ro.serialno says.
        authorized: public keys (contents of adbkey.pub) the owner has allowed before.
        allow: whether the owner taps Allow when asked.
        version: newest protocol version spoken; 0x01000000 checks data sums as old phones do.
    """

    def __init__(
        self,
        root: Path,
        *,
        serial: str = "1A2B3C4D5E6F",
        authorized: tuple[str, ...] = (),
        allow: bool = True,
        version: int = VERSION_SKIP_CHECKSUM,
        port: int = 0,
    ) -> None:
        self.root, self.number, self.allow, self.version = root, serial, allow, version
        self.keys = [_parse_key(key) for key in authorized]
        self.faults: set[str] = set()
        self.commands: list[str] = []  # every shell command, for tests to look at
        self.pushes: list[str] = []
        self.prompts = 0
        self._sockets: list[socket.socket] = []
        self._processes: list[subprocess.Popen[bytes]] = []
        self._listener = socket.create_server(("127.0.0.1", port))
        self.port = self._listener.getsockname()[1]
        if not (root / "sys").exists():
            make_root(root)
        (root / "data/local/tmp").mkdir(parents=True, exist_ok=True)
        self.set("ro.serialno", serial)

    @property
    def serial(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def tmp(self) -> Path:
        return self.root / "data/local/tmp"

    def set(self, name: str, value: str) -> None:
        """Set a piece of the phone's state (a property, a knob) that its commands read."""
        (self.root / "state" / name).write_text(value + "\n")

    def get(self, name: str) -> str:
        path = self.root / "state" / name
        return path.read_text().strip() if path.exists() else ""

    def unplug(self) -> None:
        """Drop every connection; what runs on the phone is killed, as adbd does."""
        # What there is now: a host that comes back at once is not to be cut off again.
        wires, self._sockets = self._sockets, []
        processes = [process for process in self._processes if process.poll() is None]
        for wire in wires:
            with contextlib.suppress(OSError):
                wire.shutdown(socket.SHUT_RDWR)
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)

    def reboot(self) -> None:
        """Drop every connection and come back with another boot id."""
        (self.root / "proc/sys/kernel/random/boot_id").write_text(secrets.token_hex(16) + "\n")
        self.unplug()

    def __enter__(self) -> Phone:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.unplug()
        for process in self._processes:
            process.wait()
            for pipe in (process.stdout, process.stderr):
                if pipe:
                    pipe.close()

    def _accept(self) -> None:
        while True:
            try:
                wire, _ = self._listener.accept()
            except OSError:
                return
            wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._sockets.append(wire)
            threading.Thread(target=_Connection(self, wire).serve, daemon=True).start()

    def path(self, remote: str) -> Path:
        """Where a path of the phone's lives here."""
        return self.root / remote.lstrip("/")

    def shell(self, command: str, stderr: int = subprocess.STDOUT) -> subprocess.Popen[bytes]:
        self.commands.append(command)
        process = subprocess.Popen(
            ["/bin/sh", "-c", rewrite(command, self.root)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            cwd=self.root,
            env={
                "PATH": f"{PHONE / 'bin'}:/usr/bin:/bin",
                "PHONE_ROOT": str(self.root),
                "PHONE_PYTHON": sys.executable,
                "PHONE_ZYGOTE": zygote(),
                "HOME": str(self.root),
            },
            start_new_session=True,
        )
        self._processes.append(process)
        return process


@functools.cache
def zygote() -> str:
    """Socket of the process that runs benchmarks, one for the whole test session."""
    folder = tempfile.mkdtemp(prefix="zygote-")
    path = f"{folder}/socket"
    process = subprocess.Popen(
        [sys.executable, PHONE / "zygote.py", path],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONSAFEPATH": ""},
    )
    atexit.register(process.kill)
    assert process.stdout
    with process.stdout:
        process.stdout.readline()  # it listens
    return path


def elf(version: str = "litert1.0", machine: int = 183) -> bytes:
    """A stand-in benchmark_model binary: an ELF header for ``machine``, and which version it is."""
    header = bytearray(64)
    header[:6] = b"\x7fELF" + bytes([2 if machine in (62, 183) else 1, 1])
    header[16:20] = struct.pack("<HH", 3, machine)
    flag = b"dispatch_library_path" if version == "litert2.2" else b""
    return bytes(header) + version.encode() + b"\0" * 64 + flag


def rewrite(script: str, root: Path) -> str:
    """A script of the phone's with its absolute paths moved under ``root``."""
    return re.sub(r"(?<![\w}])/(data|sys|proc)/", rf"{root}/\1/", script)


class _Connection:
    """One host's connection: authentication, then any number of streams."""

    def __init__(self, phone: Phone, wire: socket.socket) -> None:
        self.phone, self.wire = phone, wire
        self.lock = threading.Lock()
        self.streams: dict[int, Stream] = {}
        self.next_id = 1
        self.checksums = True

    def serve(self) -> None:
        try:
            self._serve()
        except (OSError, EOFError, struct.error):
            pass  # the host hung up
        finally:
            for stream in list(self.streams.values()):
                stream.end()
            self.wire.close()

    def _serve(self) -> None:
        token, online = b"", False
        while True:
            command, arg0, arg1, data = self._receive()
            if command == b"CNXN":
                self.checksums = min(arg0, self.phone.version) < VERSION_SKIP_CHECKSUM
                token = secrets.token_bytes(20)
                self.send(b"AUTH", TOKEN, 0, token)
            elif command == b"AUTH" and arg0 == SIGNATURE:
                if any(_verifies(key, token, data) for key in self.phone.keys):
                    online = self._go_online()
                else:
                    self.send(b"AUTH", TOKEN, 0, token := secrets.token_bytes(20))
            elif command == b"AUTH" and arg0 == PUBLIC_KEY:
                self.phone.prompts += 1
                if self.phone.allow and "unauthorized" not in self.phone.faults:
                    self.phone.keys.append(_parse_key(data.rstrip(b"\0").decode()))
                    online = self._go_online()
            elif not online:
                raise EOFError("spoke before signing in")
            elif command == b"OPEN":
                self._open(arg0, data.rstrip(b"\0").decode())
            elif arg1 in self.streams:
                self.streams[arg1].hear(command, data)

    def _go_online(self) -> bool:
        banner = (
            "device::ro.product.name=oriole;ro.product.model=Pixel 6;ro.product.device=oriole;"
            "features=shell_v2,cmd"
        )
        self.send(b"CNXN", self.phone.version, MAX_DATA, banner.encode())
        return True

    def _open(self, remote: int, service: str) -> None:
        kind, _, rest = service.partition(":")
        made = SERVICES.get(kind.split(",")[0])
        if made is None:
            self.send(b"CLSE", 0, remote, b"")
            return
        local, self.next_id = self.next_id, self.next_id + 1
        stream = made(self, local, remote, v2=",v2" in kind, argument=rest)
        self.streams[local] = stream
        self.send(b"OKAY", local, remote, b"")
        threading.Thread(target=stream.work, daemon=True).start()

    def send(self, command: bytes, arg0: int, arg1: int, data: bytes) -> None:
        check = sum(data) & 0xFFFFFFFF if self.checksums else 0
        magic = int.from_bytes(command, "little") ^ 0xFFFFFFFF
        header = HEADER.pack(command, arg0, arg1, len(data), check, magic)
        with self.lock:
            self.wire.sendall(header + data)

    def _receive(self) -> tuple[bytes, int, int, bytes]:
        command, arg0, arg1, length, check, magic = HEADER.unpack(self._read(HEADER.size))
        if magic != int.from_bytes(command, "little") ^ 0xFFFFFFFF:
            raise EOFError("bad magic")
        data = self._read(length)
        if self.checksums and command != b"CNXN" and sum(data) & 0xFFFFFFFF != check:
            raise EOFError("bad checksum")
        return command, arg0, arg1, data

    def _read(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            chunk = self.wire.recv(size - len(data))
            if not chunk:
                raise EOFError
            data += chunk
        return bytes(data)


def _parse_key(line: str) -> rsa.PublicKey:
    """An adbkey.pub line: base64 of Android's RSAPublicKey struct, then user@host."""
    raw = base64.b64decode(line.split()[0])
    words, _n0inv = struct.unpack_from("<II", raw)
    modulus = int.from_bytes(raw[8 : 8 + 4 * words], "little")
    (exponent,) = struct.unpack_from("<I", raw, 8 + 8 * words)
    return rsa.PublicKey(modulus, exponent)


#: DER of DigestInfo(SHA-1) up to the 20 bytes of the digest: adb signs the token as if it were one.
_SHA1_PREFIX = bytes.fromhex("3021300906052b0e03021a05000414")


def _verifies(key: rsa.PublicKey, token: bytes, signature: bytes) -> bool:
    opened = pow(int.from_bytes(signature, "big"), key.e, key.n).to_bytes(256, "big")
    tail = _SHA1_PREFIX + token
    return opened == b"\0\x01" + b"\xff" * (256 - 3 - len(tail)) + b"\0" + tail
