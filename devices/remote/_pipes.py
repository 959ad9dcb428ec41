"""The pipes of a child process, each served by a thread, so that no peer can block or fill us.

Threads and not selectors: Windows cannot select on a pipe.
"""

from __future__ import annotations

import queue
import threading
from typing import IO

__all__ = ["ErrorTail", "LineReader", "LineTooLongError", "Writer"]

_CHUNK_BYTES = 1 << 20
_WRITE_BYTES = 1 << 16
#: Lines read ahead of whoever takes them; then the peer has to wait.
_MAX_LINES = 4
_TAIL_BYTES = 1 << 14


class LineTooLongError(Exception):
    """The peer wrote more than ``limit`` bytes without a line end."""


class LineReader:
    """Lines of ``pipe``, as they come.

    Args:
        limit: bytes that a line may have; it may be changed between lines.
    """

    def __init__(self, pipe: IO[bytes], limit: int) -> None:
        self._pipe, self.limit = pipe, limit
        self._lines: queue.Queue[bytes | LineTooLongError | None] = queue.Queue(_MAX_LINES)
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def take(self, limit_s: float) -> bytes | None:
        """The next line without its end; None once the peer has closed its end.

        Raises:
            TimeoutError: none within ``limit_s``.
            LineTooLongError: it has no end.
        """
        try:
            line = self._lines.get(timeout=max(0.0, limit_s))
        except queue.Empty:
            raise TimeoutError from None
        if isinstance(line, LineTooLongError):
            raise line
        return line

    def close(self) -> None:
        """Once the peer is gone, or will be."""
        self._closing.set()
        self._thread.join(timeout=1.0)

    def _work(self) -> None:
        pending = bytearray()
        try:
            while chunk := self._pipe.read(_CHUNK_BYTES):
                start = len(pending)
                pending += chunk
                while (end := pending.find(b"\n", start)) >= 0:
                    if not self._put(bytes(pending[:end])):
                        return
                    del pending[: end + 1]
                    start = 0
                if len(pending) > self.limit:
                    self._put(LineTooLongError())
                    return
        except (OSError, ValueError):  # closed here meanwhile
            pass
        self._put(None)

    def _put(self, line: bytes | LineTooLongError | None) -> bool:
        while not self._closing.is_set():
            try:
                self._lines.put(line, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False


class Writer:
    """Writes to ``pipe`` and notices where the peer takes nothing."""

    def __init__(self, pipe: IO[bytes]) -> None:
        self._pipe = pipe
        self._texts: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._steps: queue.SimpleQueue[OSError | bool] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def write(self, data: bytes, limit_s: float) -> None:
        """Raises TimeoutError where the peer takes no byte for ``limit_s``, OSError where it is
        gone."""
        self._texts.put(data)
        while True:
            try:
                step = self._steps.get(timeout=limit_s)
            except queue.Empty:
                raise TimeoutError from None
            if isinstance(step, OSError):
                raise step
            if step:
                return

    def close(self) -> None:
        self._texts.put(None)
        self._thread.join(timeout=1.0)

    def _work(self) -> None:
        while (data := self._texts.get()) is not None:
            left = memoryview(data)
            try:
                while left:
                    left = left[self._pipe.write(left[:_WRITE_BYTES]) :]
                    self._steps.put(not left)
            except (OSError, ValueError) as exc:  # gone, or closed here meanwhile
                self._steps.put(exc if isinstance(exc, OSError) else OSError(str(exc)))
                return


class ErrorTail:
    """The last of what a peer wrote to ``pipe``, however much that was."""

    def __init__(self, pipe: IO[bytes]) -> None:
        self._pipe, self._tail = pipe, b""
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def lines(self) -> list[str]:
        """Those that are not empty; waits a moment for the last ones."""
        self._thread.join(timeout=1.0)
        lines = self._tail.decode(errors="replace").splitlines()
        return [line.strip() for line in lines if line.strip()]

    def close(self) -> None:
        self._thread.join(timeout=1.0)

    def _work(self) -> None:
        try:
            while chunk := self._pipe.read(_WRITE_BYTES):
                self._tail = (self._tail + chunk)[-_TAIL_BYTES:]
        except (OSError, ValueError):  # closed here meanwhile
            return
