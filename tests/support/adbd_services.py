"""Streams of the stand-in adbd: flow control, and the shell and sync services on top of it."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import stat
import struct
import subprocess
import threading
from typing import Any, Protocol

__all__ = ["MAX_DATA", "SERVICES", "Stream"]

SYNC = struct.Struct("<4sI")
MAX_DATA = 256 << 10


class Connection(Protocol):
    """What a stream needs of its connection; see adbd."""

    phone: Any
    streams: dict[int, Stream]

    def send(self, command: bytes, arg0: int, arg1: int, data: bytes) -> None: ...


class Stream:
    """One stream: write() waits for the host's OKAY, read() gives what the host wrote."""

    def __init__(
        self, connection: Connection, local: int, remote: int, *, v2: bool, argument: str
    ) -> None:
        self.connection, self.local, self.remote = connection, local, remote
        self.v2, self.argument = v2, argument
        self.phone = connection.phone
        self.ready = threading.Semaphore(0)
        self.arrived = threading.Condition()
        self.buffer = bytearray()
        self.closed = False

    def hear(self, command: bytes, data: bytes) -> None:
        if command == b"OKAY":
            self.ready.release()
        elif command == b"WRTE":
            with self.arrived:
                self.buffer += data
                self.arrived.notify()
            self.connection.send(b"OKAY", self.local, self.remote, b"")
        elif command == b"CLSE":
            self.end()

    def end(self) -> None:
        self.closed = True
        with self.arrived:
            self.arrived.notify()
        self.ready.release()

    def write(self, data: bytes) -> None:
        for start in range(0, len(data), MAX_DATA):
            if self.closed:
                raise EOFError
            self.connection.send(b"WRTE", self.local, self.remote, data[start : start + MAX_DATA])
            self.ready.acquire()

    def read(self, size: int) -> bytes:
        with self.arrived:
            self.arrived.wait_for(lambda: len(self.buffer) >= size or self.closed)
            if len(self.buffer) < size:
                raise EOFError
            data = bytes(self.buffer[:size])
            del self.buffer[:size]
            return data

    def work(self) -> None:
        try:
            self.serve()
        except (EOFError, OSError):
            pass  # the host closed the stream or went away
        finally:
            with self.arrived:  # lets the thread go that waits for the host to close
                self.closed = True
                self.arrived.notify_all()
            self.connection.streams.pop(self.local, None)
            with contextlib.suppress(OSError):
                self.connection.send(b"CLSE", self.local, self.remote, b"")

    def serve(self) -> None:
        raise NotImplementedError


class _Shell(Stream):
    """``shell:`` and ``exec:`` give output as it comes; ``shell,v2:`` frames it, code last."""

    def serve(self) -> None:
        process = self.phone.shell(
            self.argument, stderr=subprocess.PIPE if self.v2 else subprocess.STDOUT
        )
        assert process.stdin
        process.stdin.close()
        threading.Thread(target=self._kill_when_closed, args=(process,), daemon=True).start()
        with selectors.DefaultSelector() as selector:
            for kind, pipe in ((1, process.stdout), (2, process.stderr)):
                if pipe:
                    selector.register(pipe, selectors.EVENT_READ, kind)
            while selector.get_map():
                for key, _ in selector.select():
                    chunk = os.read(key.fd, 32 << 10)
                    if not chunk:
                        selector.unregister(key.fileobj)
                        continue
                    self._trip()
                    self.write(self._frame(key.data, chunk) if self.v2 else chunk)
        code = process.wait()
        if self.v2:
            self.write(self._frame(3, bytes([code & 0xFF])))

    def _trip(self) -> None:
        """Faults in the middle of a benchmark's output."""
        if "benchmark_model" not in self.argument:
            return
        if "unplug_run" in self.phone.faults:
            self.phone.faults.discard("unplug_run")
            self.phone.unplug()
        if "reboot_run" in self.phone.faults:
            self.phone.faults.discard("reboot_run")
            self.phone.reboot()
        if "hang_run" in self.phone.faults:
            self.phone.faults.discard("hang_run")
            threading.Event().wait(60)

    def _kill_when_closed(self, process: subprocess.Popen[bytes]) -> None:
        with self.arrived:
            self.arrived.wait_for(lambda: self.closed)
        with contextlib.suppress(ProcessLookupError):
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGHUP)

    @staticmethod
    def _frame(kind: int, data: bytes) -> bytes:
        return struct.pack("<BI", kind, len(data)) + data


class _Sync(Stream):
    """``sync:``: STAT, LIST, SEND, RECV, QUIT."""

    def serve(self) -> None:
        while True:
            kind, length = SYNC.unpack(self.read(SYNC.size))
            if kind == b"QUIT":
                return
            path = self.read(length).decode()
            {b"STAT": self.stat, b"LIST": self.list, b"SEND": self.take, b"RECV": self.give}[kind](
                path
            )

    def stat(self, remote: str) -> None:
        try:
            told = self.phone.path(remote).lstat()
            self.write(struct.pack("<4sIII", b"STAT", told.st_mode, told.st_size, 1))
        except OSError:
            self.write(struct.pack("<4sIII", b"STAT", 0, 0, 0))

    def list(self, remote: str) -> None:
        folder = self.phone.path(remote)
        for entry in sorted(folder.iterdir()) if folder.is_dir() else []:
            told, name = entry.lstat(), entry.name.encode()
            self.write(
                struct.pack("<4sIIII", b"DENT", told.st_mode, told.st_size, 1, len(name)) + name
            )
        self.write(struct.pack("<4sIIII", b"DONE", 0, 0, 0, 0))

    def take(self, remote: str) -> None:
        remote, _, mode = remote.rpartition(",")
        data = bytearray()
        while True:
            kind, length = SYNC.unpack(self.read(SYNC.size))
            if kind == b"DONE":
                break
            data += self.read(length)
            if "unplug_push" in self.phone.faults:
                self.phone.faults.discard("unplug_push")
                self.phone.unplug()
        self.phone.pushes.append(remote)
        if "storage_full" in self.phone.faults:
            self._fail("couldn't write: No space left on device")
            return
        if "truncate_push" in self.phone.faults:
            self.phone.faults.discard("truncate_push")
            del data[len(data) // 2 :]
        target = self.phone.path(remote)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
            target.chmod(stat.S_IMODE(int(mode)))
        except OSError as exc:
            self._fail(f"couldn't create file: {exc.strerror}")
            return
        self.write(SYNC.pack(b"OKAY", 0))

    def give(self, remote: str) -> None:
        try:
            data = self.phone.path(remote).read_bytes()
        except OSError as exc:
            self._fail(f"open failed: {exc.strerror}")
            return
        for start in range(0, len(data), 64 << 10):
            chunk = data[start : start + (64 << 10)]
            self.write(SYNC.pack(b"DATA", len(chunk)) + chunk)
        self.write(SYNC.pack(b"DONE", 0))

    def _fail(self, said: str) -> None:
        self.write(SYNC.pack(b"FAIL", len(said)) + said.encode())


SERVICES: dict[str, type[Stream]] = {"shell": _Shell, "exec": _Shell, "sync": _Sync}
