"""The agent: one process on the device host, JSON Lines over stdin and stdout.

It is light (standard library, numpy and the one runtime) and arrives over its own stdin, so the
host needs no latprof. Each request is one JSON object with an ``op``; each gets one answer, with
``ok`` true, or ``ok`` false with ``error`` and a one-line ``message``.

    hello        version, runtime, threads, gpu, carry, knobs, settings -> version, device, ...
    prepare      id, and workload, path, model (base64), or nothing: the least call -> seconds
    watch        id, patience_s                             -> nothing
    watch_memory id                                         -> nothing
    measure      id, seconds, drop, calm_s, memory          -> samples_s, busy, cost_s, sentinel_s,
                                                               memory_s
    run          path or model, inputs                      -> outputs
    environment                                             -> knobs as read back
    bye                                                     -> nothing; the process ends

Errors: ``version``, ``missing`` (with ``package``), ``device`` (no such GPU, driver or compiler),
``usage`` (no such setting), ``refused`` (this job will not run), ``protocol``.
What is watched is the sentinel: a call of it takes ``sentinel_s`` beside what is measured, the
slower of before and after, which waits a while for it to take at most ``calm_s``; and a call of the
memory's takes ``memory_s``, where it is asked for. What ``hello`` answers as ``carry`` spares the
next process work, if its ``hello`` brings it.
The process ends when stdin does, so it never outlives the one who started it.
"""

from __future__ import annotations

import base64
import importlib
import inspect
import json
import math
import os
import signal
import sys
import time
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from latprof.devices.agent._clock import clock_resolution_s
from latprof.devices.agent._host import Knobs, describe_cpu, due_share
from latprof.devices.agent._protocol import (
    GPU_RUNTIME_MODULES,
    PROTOCOL_VERSION,
    RUNTIME_MODULES,
    decode_arrays,
    encode_arrays,
)
from latprof.devices.agent._sentinel import AT_MEMORY, Sentinel
from latprof.devices.agent.runtimes._base import NoDevice, Prepared, Refused, Runtime
from latprof.workloads import workload_from_dict

if TYPE_CHECKING:
    from latprof.devices.agent.cuda._nvml import GpuState

__all__ = ["main"]

#: A GPU's pace changes as it warms, not from one moment to the next, and a look there costs more.
_GPU_LOOKS_S = 0.1
#: What a runtime is given whether or not the user sets anything.
_GIVEN = ("threads", "gpu", "carry")


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
        self._gpu: GpuState | None = None
        self._sentinel: Sentinel | None = None
        self._memory: Sentinel | None = None
        self._prepared: dict[int, Prepared] = {}
        self._resolution_s = 0.0

    def serve(self, requests: IO[str], answers: IO[str]) -> None:
        try:
            for line in requests:
                answer = self._answer(line)
                answers.write(json.dumps(answer) + "\n")
                answers.flush()
                if answer.get("bye"):
                    return
        finally:
            if self._gpu is not None:
                self._gpu.restore()
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
        except NoDevice as exc:
            return _Problem("device", str(exc)).answer
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
        gpu: int | None = None,
        carry: str = "",
    ) -> dict[str, Any]:
        if version != PROTOCOL_VERSION:
            raise _Problem("version", f"protocol {version}; this agent speaks {PROTOCOL_VERSION}")
        gpu_clock = knobs.pop("gpu_clock", "")
        self._knobs = Knobs(threads, **knobs)  # before the runtime starts its threads
        given: dict[str, Any] = {"threads": threads, "carry": carry}
        device, modules = describe_cpu(), RUNTIME_MODULES
        if gpu is not None:  # what a GPU needs is sent to hosts that measure one
            from latprof.devices.agent.cuda._driver import describe_gpu
            from latprof.devices.agent.cuda._nvml import GpuState

            given["gpu"] = info = describe_gpu(gpu)
            device, modules = info.name, GPU_RUNTIME_MODULES
        module, name = modules[runtime]
        try:
            factory = getattr(importlib.import_module(module), name)
        except ModuleNotFoundError as exc:
            raise _Problem("missing", str(exc), package=exc.name) from exc
        parameters = inspect.signature(factory).parameters
        known = [name for name in parameters if name not in _GIVEN]
        if unknown := sorted(set(settings) - set(known)):
            raise _Problem(
                "usage",
                f"{runtime} has no setting {unknown[0]!r}; it has {', '.join(known)}; "
                "every device here has python, affinity, governor",
            )
        given = {name: value for name, value in given.items() if name in parameters}
        try:
            if gpu is not None:
                self._gpu = GpuState(info, gpu_clock)
            self._runtime = factory(**given, **settings)
        except Refused as exc:
            raise _Problem("usage", str(exc)) from exc
        assert self._runtime is not None
        self._resolution_s = self._runtime.resolution_s or clock_resolution_s()
        return {
            "version": PROTOCOL_VERSION,
            "device": device,
            "runtime_version": self._runtime.version,
            "delegate": self._runtime.delegate,
            "precision": self._runtime.precision,
            "settings": self._runtime.settings,
            "carry": self._runtime.carry,
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
        if path is None and model is None:
            return self._runtime.least()
        return self._runtime.model(base64.b64decode(model) if model is not None else str(path))

    def _on_watch(self, id: int, patience_s: float) -> dict[str, Any]:
        assert self._knobs is not None
        self._sentinel = Sentinel(
            self._prepared[id],
            self._knobs,
            resolution_s=self._resolution_s,
            every_s=_GPU_LOOKS_S if self._gpu else 0.0,
            patience_s=patience_s,
        )
        return {}

    def _on_watch_memory(self, id: int) -> dict[str, Any]:
        assert self._knobs is not None
        self._memory = Sentinel(
            self._prepared[id], self._knobs, resolution_s=self._resolution_s, at=AT_MEMORY
        )
        return {}

    def _on_measure(
        self, id: int, seconds: float, drop: bool, calm_s: float = math.inf, memory: bool = False
    ) -> dict[str, Any]:
        watched = {"memory_s": self._memory if memory else None, "sentinel_s": self._sentinel}
        looks_s, looking_s = dict.fromkeys(watched, 0.0), 0.0
        for name, sentinel in watched.items():
            if sentinel:
                looks_s[name] = sentinel.settle(calm_s)
                looking_s += sentinel.cost_s  # of the last look, not of the wait for a calm core
        samples_s, busy, cost_s = self._prepared[id].time(
            measure_s=seconds, resolution_s=self._resolution_s
        )
        busy = min(busy, due_share())
        for name, sentinel in reversed(watched.items()):
            if sentinel:
                looks_s[name] = max(looks_s[name], sentinel.look())
                looking_s += sentinel.cost_s
        if drop:
            del self._prepared[id]
        return {"samples_s": samples_s, "busy": busy, "cost_s": cost_s + looking_s, **looks_s}

    def _on_run(self, inputs: dict[str, str], **source: Any) -> dict[str, Any]:
        outputs = self._load(**source).run(decode_arrays(inputs))
        return {"outputs": encode_arrays({str(i): o for i, o in enumerate(outputs)})}

    def _on_environment(self) -> dict[str, Any]:
        assert self._knobs is not None
        gpu = {"gpu": self._gpu.read()} if self._gpu is not None else {}
        runtime = self._runtime.environment if self._runtime is not None else {}
        return {"numpy": np.__version__, **runtime, **self._knobs.read_back(), **gpu}

    def _on_bye(self) -> dict[str, Any]:
        return {"bye": True}


def main() -> None:
    """Serve on stdin and stdout, and keep what libraries print off both."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the one who started us decides when to stop
    # stdin is buffered already, by the bootstrap that read this code from it.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    Agent().serve(sys.stdin, answers)
