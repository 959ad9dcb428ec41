"""The near end of an agent: starts it, sends its code along, asks, and maps what goes wrong."""

from __future__ import annotations

import contextlib
import json
import os
import re
import selectors
import signal
import subprocess
import time
from collections import deque
from collections.abc import Sequence
from threading import Thread
from types import TracebackType
from typing import Any, Self

from latprof.devices.agent import PROTOCOL_VERSION
from latprof.devices.remote._bootstrap import agent_sources
from latprof.errors import (
    DeviceError,
    DeviceLostError,
    DeviceTimeoutError,
    LatprofError,
    MissingExtraError,
    ProtocolError,
    UnknownDeviceError,
    UsageError,
    WorkloadError,
)

__all__ = ["AgentProcess", "Hint"]

#: (pattern in stderr, error class, what it means and what to do).
Hint = tuple[str, type[LatprofError], str]

#: To compile the kernels of a GPU, at most.
_COMPILE_S = 300.0
_ERROR_TAIL_LINES = 20
_GRACE_S = 1.0


class AgentProcess:
    """One agent, alive within the ``with`` block.

    Args:
        command: argv that runs BOOTSTRAP in a Python, here or over ssh.
        name: the device, for messages.
        gpu: the index of a GPU there.
        carry: what an earlier process of the same device answered as such.
        hints: what the transport's own last words mean: (pattern, error, message).
        limit_s: no answer for this long, beyond what the request itself takes, is a timeout.

    Raises:
        DeviceLostError: it died; the message ends in the last line it wrote to stderr.
        DeviceTimeoutError: no answer within the limit.
        ProtocolError: an answer that is not the protocol, or of another version.
        WorkloadError: the runtime refused the job; the agent goes on.
        MissingExtraError, UnknownDeviceError: the host lacks a package, or Python.
        UsageError: the runtime has no such setting.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        name: str,
        runtime: str,
        threads: int,
        knobs: dict[str, str],
        settings: dict[str, str],
        limit_s: float,
        gpu: int | None = None,
        carry: str = "",
        hints: Sequence[Hint] = (),
    ) -> None:
        self._name, self._limit_s, self._hints = name, limit_s, hints
        self._buffer = b""
        self._errors: deque[str] = deque(maxlen=_ERROR_TAIL_LINES)
        try:
            self._process = subprocess.Popen(
                list(command),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,  # Ctrl-C in the terminal is ours to handle, not the agent's
            )
        except OSError as exc:
            raise DeviceLostError(f"{name}: cannot start {command[0]}: {exc.strerror}") from exc
        assert self._process.stdout is not None
        assert self._process.stdin is not None
        os.set_blocking(self._process.stdin.fileno(), False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._process.stdout, selectors.EVENT_READ)
        self._reader = Thread(target=self._read_errors, daemon=True)
        self._reader.start()
        try:
            self._send(agent_sources(runtime, gpu=gpu is not None))
            self.hello = self.ask(
                "hello",
                takes_s=_COMPILE_S if gpu is not None and not carry else 0.0,
                version=PROTOCOL_VERSION,
                runtime=runtime,
                threads=threads,
                gpu=gpu,
                carry=carry,
                knobs=knobs,
                settings=settings,
            )
            if self.hello.get("version") != PROTOCOL_VERSION:
                raise ProtocolError(
                    f"{name}: agent speaks protocol {self.hello.get('version')!r}; "
                    f"expected {PROTOCOL_VERSION}"
                )
        except BaseException:
            self.kill()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            with contextlib.suppress(DeviceError):  # already gone is as good as goodbye
                self.ask("bye")
        self.kill()

    def ask(self, op: str, takes_s: float = 0.0, **fields: Any) -> dict[str, Any]:
        """Send one request and wait for its answer, at most ``takes_s`` longer than the limit."""
        self._send({"op": op, **fields})
        line = self._read_line(op, self._limit_s + takes_s)
        try:
            answer = json.loads(line)
            ok = answer["ok"]
        except (ValueError, KeyError, TypeError) as exc:
            why = "; does a start-up file of the shell there print something?" * (op == "hello")
            raise ProtocolError(
                f"{self._name}: answered {line[:80]!r} to {op}; expected JSON with 'ok'{why}"
            ) from exc
        if ok:
            return dict(answer)
        message = f"{self._name}: {answer.get('message', answer)}"
        match answer.get("error"):
            case "missing":
                raise _missing(self._name, str(answer.get("package")))
            case "python":
                raise UnknownDeviceError(
                    f"{self._name} has Python {answer.get('version')}; expected 3.11 or later; "
                    "name another with the setting python=/path/to/python3"
                )
            case "device":
                raise UnknownDeviceError(message)
            case "usage":
                raise UsageError(message)
            case "refused":
                raise WorkloadError(message)
            case _:
                raise ProtocolError(message)

    def kill(self) -> None:
        """End the process and everything it started, now."""
        if self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGTERM if self._grace() else signal.SIGKILL)
        self._process.wait()
        self._reader.join(timeout=1.0)
        self._selector.close()
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):  # unsent bytes of a dead process
                    pipe.close()

    def _grace(self) -> bool:
        """Close stdin and wait for the agent to restore its knobs; False where it does not end."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(timeout=_GRACE_S)
        except subprocess.TimeoutExpired:
            return False
        return True

    def _send(self, message: dict[str, Any]) -> None:
        """Write one line; a peer that takes nothing for the limit's time is a timeout, too."""
        assert self._process.stdin is not None
        file = self._process.stdin.fileno()
        data = memoryview(json.dumps(message).encode() + b"\n")
        with selectors.DefaultSelector() as writable:
            writable.register(file, selectors.EVENT_WRITE)
            while data:
                if not writable.select(self._limit_s):
                    raise DeviceTimeoutError(
                        f"{self._name}: took no byte within {self._limit_s:.0f} s; "
                        "is the connection stuck? raise limit_s to wait longer"
                    )
                try:
                    data = data[os.write(file, data) :]
                except BrokenPipeError as exc:
                    raise self._lost() from exc

    def _read_line(self, op: str, limit_s: float) -> bytes:
        assert self._process.stdout is not None
        deadline = time.monotonic() + limit_s
        while b"\n" not in self._buffer:
            if not self._selector.select(max(0.0, deadline - time.monotonic())):
                raise DeviceTimeoutError(
                    f"{self._name}: no answer to {op} within {limit_s:.0f} s; "
                    "is the device asleep, or the model too slow? raise limit_s to wait longer"
                )
            chunk = os.read(self._process.stdout.fileno(), 1 << 20)
            if not chunk:
                raise self._lost()
            self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line

    def _read_errors(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            if text := line.decode(errors="replace").strip():
                self._errors.append(text)

    def _lost(self) -> LatprofError:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=2.0)
        self._reader.join(timeout=1.0)
        code = self._process.poll()
        how = (
            f"killed by {signal.Signals(-code).name}"
            if code is not None and code < 0
            else f"exit code {code}"
        )
        said = "\n".join(self._errors)
        for pattern, error, meaning in self._hints:
            if re.search(pattern, said):
                return error(f"{self._name}: {meaning}")
        last = self._errors[-1] if self._errors else "it said nothing"
        return DeviceLostError(f"{self._name}: the agent is gone ({how}): {last[:300]}")


def _missing(name: str, package: str) -> LatprofError:
    """The error for a package that the host lacks: an extra here, a package there."""
    package = {"ai_edge_litert": "ai-edge-litert", "tflite_runtime": "ai-edge-litert"}.get(
        package.split(".")[0], package.split(".")[0]
    )
    if name.startswith("ssh:"):
        host = name.removeprefix("ssh:")
        return UnknownDeviceError(
            f"{name} has no {package}; install it with: ssh {host} python3 -m pip install {package}"
        )
    extra = {"onnxruntime": "onnx", "torch": "train"}.get(package, "tflite")
    return MissingExtraError(package, extra, f"measuring on {name}")
