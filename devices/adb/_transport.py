"""The wire to one phone: run a command, push bytes, pull bytes.

Two backends speak it: ``_direct`` (adb-shell, pure Python, over TCP or USB) and ``_server``
(adbutils, through the adb server). What both share is here: exit codes, loss detection, and the
check that a pushed file arrived.
"""

from __future__ import annotations

import hashlib
import posixpath
import secrets
import shlex
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass

from latprof.errors import DeviceError, DeviceLostError, ProtocolError

__all__ = ["SILENCE_S", "ShellResult", "Transport", "quote", "run_checked"]

#: A command that prints nothing for this long is taken for hung.
SILENCE_S = 30.0


@dataclass(frozen=True)
class ShellResult:
    """What a command on the phone printed (both streams, in order) and its exit code."""

    output: str
    code: int


class Transport(ABC):
    """One phone, reached. Laws, run against every backend:

    - ``pull(path)`` after ``push(data, path)`` is ``data``, for any bytes and any path;
    - ``run`` gives the output and exit code of the command, whatever it prints;
    - a phone that goes away raises DeviceLostError, one that falls silent DeviceTimeoutError,
      and no call hangs longer than its ``silence_s``;
    - every error is a DeviceError, raised from the backend's own.

    Args:
        serial: the phone's serial number, or ``HOST:PORT``.
    """

    def __init__(self, serial: str) -> None:
        self.serial = serial

    @abstractmethod
    def _output(self, command: str, silence_s: float) -> Generator[bytes, None, None]:
        """Chunks of what ``command`` prints, until the phone closes the stream."""

    @abstractmethod
    def _send(self, data: bytes, path: str, mode: int, on_bytes: Callable[[int], None]) -> None:
        """Write ``data`` to ``path``; ``on_bytes`` hears how many bytes have gone."""

    @abstractmethod
    def pull(self, path: str) -> bytes:
        """The file at ``path``."""

    @abstractmethod
    def close(self) -> None:
        """Let go of the phone; safe to call twice."""

    def stream(self, command: str, *, silence_s: float = SILENCE_S) -> Generator[str, None, int]:
        """Lines of ``command``'s output as they come; the generator returns the exit code.

        adb's first shell protocol drops exit codes and ends the same way whether the command
        finished or the cable came out, so the command's end is marked with a random word.

        Raises:
            DeviceLostError: the stream ended before the command did.
            DeviceTimeoutError: no output for ``silence_s``.
        """
        mark = f"latprof-{secrets.token_hex(8)}:"
        pending, exit_code = b"", -1
        with closing(self._output(f"( {command}\n) 2>&1; echo {mark}$?", silence_s)) as chunks:
            # Read to the end even after the mark: a stream left before it ends is a broken one.
            for chunk in chunks:
                *complete, pending = (pending + chunk).split(b"\n")
                for raw in complete:
                    line = raw.decode(errors="replace").rstrip("\r")
                    head, found, code = line.partition(mark)
                    if head or not found:  # a last line may have no newline of its own
                        yield head if found else line
                    if found and not code.isdigit():
                        raise ProtocolError(f"{self.serial}: exit code {code!r}; expected a number")
                    exit_code = int(code) if found else exit_code
        if exit_code < 0:
            raise DeviceLostError(
                f"{self.serial}: the connection closed before the command finished; check the "
                "cable, or that the phone did not reboot, and run the same command again"
            )
        return exit_code

    def run(self, command: str, *, silence_s: float = SILENCE_S) -> ShellResult:
        """``command``'s whole output and exit code. Raises as ``stream``."""
        lines: list[str] = []
        stream = self.stream(command, silence_s=silence_s)
        while True:
            try:
                lines.append(next(stream))
            except StopIteration as end:
                return ShellResult("\n".join(lines), end.value)

    def push(
        self,
        data: bytes,
        path: str,
        *,
        mode: int = 0o644,
        on_bytes: Callable[[int], None] = lambda _: None,
    ) -> None:
        """Write ``data`` to ``path`` and read back its size and digest from the phone.

        Raises:
            DeviceError: the phone refused (storage full), or holds other bytes than were sent.
        """
        self._send(data, path, mode, on_bytes)
        file = quote(path)
        answer = self.run(f"wc -c < {file}; sha256sum {file} 2>/dev/null || md5sum {file}")
        size, _, digest_line = answer.output.partition("\n")
        digest = digest_line.split()[0] if digest_line.split() else ""
        algorithm = {64: hashlib.sha256, 32: hashlib.md5}.get(len(digest))
        if answer.code or algorithm is None:
            raise DeviceError(
                f"{self.serial}: cannot check {posixpath.basename(path)} after pushing it: "
                f"{answer.output[-200:]!r}; is the phone's storage full?"
            )
        if int(size) != len(data) or digest != algorithm(data).hexdigest():
            raise DeviceError(
                f"{self.serial}: pushed {len(data)} bytes as {posixpath.basename(path)}, the phone "
                f"holds {size.strip()} with another digest; free some storage (adb shell df "
                "/data), check the cable, and run the same command again"
            )


def quote(*arguments: str) -> str:
    """Arguments as one shell-safe command line; every remote path passes through here."""
    return shlex.join(arguments)


def run_checked(transport: Transport, command: str, *, silence_s: float = SILENCE_S) -> str:
    """``run``, raising DeviceError where the exit code is not 0."""
    result = transport.run(command, silence_s=silence_s)
    if result.code:
        printed = " ".join(result.output.split())[-300:] or "nothing"
        raise DeviceError(
            f"{transport.serial}: `{command[:80]}` exited with {result.code} and printed: {printed}"
        )
    return result.output
