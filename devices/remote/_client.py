"""The near end of an agent: starts it, sends its code along, asks, and maps what goes wrong."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from latprof.devices.agent import PROTOCOL_VERSION
from latprof.devices.remote._answer import Answer
from latprof.devices.remote._bootstrap import agent_sources
from latprof.devices.remote._pipes import ErrorTail, LineReader, LineTooLongError, Writer
from latprof.devices.remote._process import end_process, limit_memory, start_process
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
from latprof.vocabulary import Closing

__all__ = ["AgentOptions", "AgentProcess", "Hint"]

#: (pattern in stderr, error class, what it means and what to do).
Hint = tuple[str, type[LatprofError], str]

#: To compile the kernels of a GPU, at most.
_COMPILE_S = 300.0
_GRACE_S = 1.0
#: Bytes of an answer: what a model computes, and its graph, are sent in one, all else is short.
_MAX_OUTPUT_BYTES, _MAX_ANSWER_BYTES = 1 << 28, 1 << 24
_LONG = ("run", "profile")


@dataclass(frozen=True)
class AgentOptions:
    """How an agent is started.

    Args:
        name: the device, for messages.
        command: argv that runs BOOTSTRAP in a Python, here or over ssh.
        runtime, threads: of the device.
        gpu: the index of the GPU there that the runtime is to use; None for the CPU.
        knobs: ``affinity`` and ``governor``, see ``agent._host.Knobs``; ``gpu_clock``, see
            ``agent.cuda._nvml.GpuState``.
        settings: the runtime's own, as read_settings gives them.
        hints: what the transport's own last words mean: (pattern, error, message).
        limit_s: no answer for this long, beyond what the request itself takes, is a timeout.
    """

    name: str
    command: Sequence[str]
    runtime: str
    threads: int = 1
    gpu: int | None = None
    knobs: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    hints: Sequence[Hint] = ()
    limit_s: float = 60.0


class AgentProcess(Closing):
    """One agent, alive within the ``with`` block.

    Args:
        carry: what an earlier process of the same device answered as such.

    Raises:
        DeviceLostError: it died; the message ends in the last line it wrote to stderr.
        DeviceTimeoutError: no answer within the limit.
        ProtocolError: an answer that is not the protocol, or of another version.
        WorkloadError: the runtime refused the job; the agent goes on.
        MissingExtraError, UnknownDeviceError: the host lacks a package, or Python.
        UsageError: the runtime has no such setting.
    """

    def __init__(self, options: AgentOptions, *, carry: str = "") -> None:
        self._options, self._name = options, options.name
        self._number, self._is_asked = 0, False
        try:
            self._process = start_process(options.command)
        except OSError as exc:
            raise DeviceLostError(
                f"{self._name}: cannot start {options.command[0]}: {exc.strerror}"
            ) from exc
        if options.gpu is None:  # GPUs reserve addresses far beyond what they use
            limit_memory(self._process)
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        self._errors = ErrorTail(process.stderr)
        self._answers = LineReader(process.stdout, _MAX_ANSWER_BYTES)
        self._requests = Writer(process.stdin)
        try:
            self._send(agent_sources(options.runtime, gpu=options.gpu is not None))
            self.hello = self.ask(
                "hello",
                takes_s=_COMPILE_S if options.gpu is not None and not carry else 0.0,
                version=PROTOCOL_VERSION,
                runtime=options.runtime,
                threads=options.threads,
                gpu=options.gpu,
                carry=carry,
                knobs=dict(options.knobs),
                settings=dict(options.settings),
            )
            if self.hello.fields.get("version") != PROTOCOL_VERSION:
                raise ProtocolError(
                    f"{self._name}: agent speaks protocol {self.hello.fields.get('version')!r}; "
                    f"expected {PROTOCOL_VERSION}"
                )
        except BaseException:
            self.kill()
            raise

    def close(self) -> None:
        """End the agent, with a goodbye unless it owes an answer."""
        if not self._is_asked:
            with contextlib.suppress(DeviceError):  # already gone is as good as goodbye
                self.ask("bye")
        self.kill()

    def ask(self, op: str, takes_s: float = 0.0, **fields: Any) -> Answer:
        """Send one request and wait for its answer, at most ``takes_s`` longer than the limit."""
        self._number += 1
        self._is_asked = True
        self._answers.limit = _MAX_OUTPUT_BYTES if op in _LONG else _MAX_ANSWER_BYTES
        self._send({"op": op, "request": self._number, **fields})
        line = self._read_line(op, self._options.limit_s + takes_s)
        try:
            answer = json.loads(line)
            ok, number = answer["ok"], answer.get("request")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as exc:
            why = "; does a start-up file of the shell there print something?" * (op == "hello")
            raise ProtocolError(
                f"{self._name}: answered {line[:80]!r} to {op}; expected JSON with 'ok' and "
                f"'request'{why}"
            ) from exc
        too_early = ok is False and number is None  # to know the number: the agent did not start
        if number != self._number and not too_early:
            raise ProtocolError(
                f"{self._name}: answered request {number!r} to {op}, which is "
                f"request {self._number}; expected one answer to each"
            )
        self._is_asked = False
        if ok is not True:
            raise self._error(answer)
        return Answer(self._name, op, answer)

    def _error(self, answer: Mapping[str, Any]) -> LatprofError:
        """An answer that is not ok, as ours."""
        message = " ".join(f"{self._name}: {answer.get('message', answer)}".split())[:500]
        match answer.get("error"):
            case "missing":
                return _missing(self._name, str(answer.get("package")))
            case "python":
                return UnknownDeviceError(
                    f"{self._name} has Python {answer.get('version')}; expected 3.11 or later; "
                    "name another with the setting python=/path/to/python3"
                )
            case "device":
                return UnknownDeviceError(message)
            case "usage":
                return UsageError(message)
            case "refused":
                return WorkloadError(message)
            case _:
                return ProtocolError(message)

    def kill(self) -> None:
        """End the process and everything it started, now."""
        if self._process.poll() is None:
            self._let_it_end()
        end_process(self._process)
        for end in (self._answers, self._requests, self._errors):
            end.close()
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            if pipe is not None:
                with contextlib.suppress(OSError):  # unsent bytes of a dead process
                    pipe.close()

    def _let_it_end(self) -> None:
        """Close stdin and wait a moment for the agent to restore its knobs."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=_GRACE_S)

    def _send(self, message: dict[str, Any]) -> None:
        """Write one line; a peer that takes nothing for the limit's time is a timeout, too."""
        limit_s = self._options.limit_s
        try:
            self._requests.write(json.dumps(message).encode() + b"\n", limit_s)
        except TimeoutError as exc:
            raise DeviceTimeoutError(
                f"{self._name}: took no byte within {limit_s:.0f} s; "
                "is the connection stuck? raise limit_s to wait longer"
            ) from exc
        except OSError as exc:
            raise self._lost() from exc

    def _read_line(self, op: str, limit_s: float) -> bytes:
        try:
            line = self._answers.take(limit_s)
        except TimeoutError as exc:
            raise DeviceTimeoutError(
                f"{self._name}: no answer to {op} within {limit_s:.0f} s; "
                "is the device asleep, or the model too slow? raise limit_s to wait longer"
            ) from exc
        except LineTooLongError as exc:
            raise ProtocolError(
                f"{self._name}: answered more than {self._answers.limit >> 20} MB to {op} without "
                "a line end; expected one line"
            ) from exc
        if line is None:
            raise self._lost()
        return line

    def _lost(self) -> LatprofError:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=2.0)
        code = self._process.poll()
        how = (
            f"killed by {signal.Signals(-code).name}"
            if code is not None and code < 0
            else f"exit code {code}"
        )
        lines = self._errors.lines()
        for pattern, error, meaning in self._options.hints:
            if re.search(pattern, "\n".join(lines)):
                return error(f"{self._name}: {meaning}")
        last = lines[-1] if lines else "it wrote nothing to stderr"
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
