"""The agent: one process on the device host, JSON Lines over stdin and stdout.

It is light (standard library, numpy and the one runtime) and arrives over its own stdin, so the
host needs no latprof. Each request is one JSON object with an ``op``; each gets one answer, with
``ok`` true, or ``ok`` false with ``error`` and a one-line ``message``.

    hello        version, runtime, threads, knobs, settings -> version, cpu, runtime_version, ...
    prepare      id, and workload or path or model (base64) -> seconds
    measure      id, seconds, drop                          -> samples_s, busy, cost_s
    run          path or model, inputs                      -> outputs
    environment                                             -> knobs as read back
    bye                                                     -> nothing; the process ends

Errors: ``version``, ``missing`` (with ``package``), ``usage`` (no such setting), ``refused`` (this
job will not run), ``protocol``.
The process ends when stdin does, so it never outlives the one who started it.
"""

from __future__ import annotations

import base64
import importlib
import inspect
import io
import json
import os
import signal
import sys
import time
from typing import IO, Any

import numpy as np

from latprof._workload import workload_from_dict
from latprof.devices._clock import clock_resolution_s, time_calls
from latprof.devices._host import Knobs, describe_cpu, due_share
from latprof.devices.runtimes._base import Array, Prepared, Refused, Runtime

__all__ = ["PROTOCOL_VERSION", "RUNTIME_MODULES", "decode_arrays", "encode_arrays", "main"]

# Protocol history
# 1: first.
PROTOCOL_VERSION = 1

#: Runtime name -> (module, class); a module imports its runtime's package at the top.
RUNTIME_MODULES = {
    "onnxruntime": ("latprof.devices.runtimes._onnxruntime", "OnnxRuntime"),
    "tflite": ("latprof.devices.runtimes._tflite", "TfliteRuntime"),
    "torch": ("latprof.devices.runtimes._torch", "TorchRuntime"),
}


class _Problem(Exception):
    """An answer with ok false."""

    def __init__(self, error: str, message: str, **fields: Any) -> None:
        super().__init__(message)
        self.answer = {"ok": False, "error": error, "message": message, **fields}


class Agent:
    """Answers requests; ``serve`` reads and writes them."""

    def __init__(self) -> None:
        self._runtime: Runtime | None = None
        self._knobs: Knobs | None = None
        self._prepared: dict[int, Prepared] = {}
        self._resolution_s = clock_resolution_s()

    def serve(self, requests: IO[str], answers: IO[str]) -> None:
        try:
            for line in requests:
                answer = self._answer(line)
                answers.write(json.dumps(answer) + "\n")
                answers.flush()
                if answer.get("bye"):
                    return
        finally:
            if self._knobs is not None:
                self._knobs.restore()

    def _answer(self, line: str) -> dict[str, Any]:
        try:
            request = json.loads(line)
            handler = getattr(self, f"_on_{request.pop('op')}")
        except (ValueError, KeyError, AttributeError) as exc:
            return _Problem("protocol", f"not a request: {exc!r}").answer
        try:
            return {"ok": True, **handler(**request)}
        except _Problem as exc:
            return exc.answer
        except Refused as exc:
            return _Problem("refused", str(exc)).answer
        except Exception as exc:  # noqa: BLE001  whatever a runtime raises is the job's failure
            why = " ".join(str(exc).split())[:300]
            return _Problem("refused", f"{type(exc).__name__}: {why}").answer

    def _on_hello(
        self,
        version: int,
        runtime: str,
        threads: int,
        knobs: dict[str, str],
        settings: dict[str, str],
    ) -> dict[str, Any]:
        if version != PROTOCOL_VERSION:
            raise _Problem("version", f"protocol {version}; this agent speaks {PROTOCOL_VERSION}")
        self._knobs = Knobs(threads, **knobs)  # before the runtime starts its threads
        module, name = RUNTIME_MODULES[runtime]
        try:
            factory = getattr(importlib.import_module(module), name)
        except ModuleNotFoundError as exc:
            raise _Problem("missing", str(exc), package=exc.name) from exc
        known = [name for name in inspect.signature(factory).parameters if name != "threads"]
        if unknown := sorted(set(settings) - set(known)):
            raise _Problem(
                "usage",
                f"{runtime} has no setting {unknown[0]!r}; it has {', '.join(known)}; "
                "every device here has python, affinity, governor",
            )
        try:
            self._runtime = factory(threads, **settings)
        except Refused as exc:
            raise _Problem("usage", str(exc)) from exc
        assert self._runtime is not None
        return {
            "version": PROTOCOL_VERSION,
            "cpu": describe_cpu(),
            "runtime_version": self._runtime.version,
            "delegate": self._runtime.delegate,
            "settings": self._runtime.settings,
            "clock_resolution_s": self._resolution_s,
        }

    def _on_prepare(self, id: int, **source: Any) -> dict[str, Any]:
        start = time.perf_counter()
        self._prepared[id] = self._load(**source)
        return {"seconds": time.perf_counter() - start}

    def _load(
        self,
        workload: dict[str, Any] | None = None,
        path: str | None = None,
        model: str | None = None,
    ) -> Prepared:
        if self._runtime is None:
            raise _Problem("protocol", "hello comes first")
        if workload is not None:
            return self._runtime.workload(workload_from_dict(workload))
        return self._runtime.model(base64.b64decode(model) if model is not None else str(path))

    def _on_measure(self, id: int, seconds: float, drop: bool) -> dict[str, Any]:
        call = self._prepared[id].call
        samples_s, busy, cost_s = time_calls(
            call, measure_s=seconds, resolution_s=self._resolution_s
        )
        busy = min(busy, due_share())
        if drop:
            del self._prepared[id]
        return {"samples_s": samples_s, "busy": busy, "cost_s": cost_s}

    def _on_run(self, inputs: dict[str, str], **source: Any) -> dict[str, Any]:
        outputs = self._load(**source).run(decode_arrays(inputs))
        return {"outputs": encode_arrays({str(i): o for i, o in enumerate(outputs)})}

    def _on_environment(self) -> dict[str, Any]:
        assert self._knobs is not None
        return {"numpy": np.__version__, **self._knobs.read_back()}

    def _on_bye(self) -> dict[str, Any]:
        return {"bye": True}


def encode_arrays(arrays: dict[str, Array]) -> dict[str, str]:
    """Arrays as base64 of NumPy's own format, which is safe to load: never pickles."""
    encoded = {}
    for name, array in arrays.items():
        buffer = io.BytesIO()
        np.save(buffer, array, allow_pickle=False)
        encoded[name] = base64.b64encode(buffer.getvalue()).decode()
    return encoded


def decode_arrays(encoded: dict[str, str]) -> dict[str, Array]:
    return {
        name: np.load(io.BytesIO(base64.b64decode(text)), allow_pickle=False)
        for name, text in encoded.items()
    }


def main() -> None:
    """Serve on stdin and stdout, and keep what libraries print off both."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the one who started us decides when to stop
    # stdin is buffered already, by the bootstrap that read this code from it.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    Agent().serve(sys.stdin, answers)
