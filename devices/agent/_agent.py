"""The agent: one process on the device host, JSON Lines over stdin and stdout.

It is light (standard library, numpy and the one runtime) and arrives over its own stdin, so the
host needs no latprof. Each request is one JSON object with an ``op``; each gets one answer, with
``ok`` true, or ``ok`` false with ``error`` and a one-line ``message``.

    hello                version, runtime, threads, gpu, carry, knobs, settings
                                                        -> version, device, ...
    prepare              id, and workload, path, model (base64), or nothing: the least call
                                                        -> seconds
    set_sentinel         id                             -> nothing
    set_memory_sentinel  id                             -> nothing
    measure              id, seconds, drop, idle_s, max_wait_s, probe_memory
                                                        -> samples_s, core_share, cost_s,
                                                           sentinel_s, memory_s, waited_s
    run                  path or model, inputs          -> outputs
    profile              path or model, seconds         -> ops, whole_s, core_share, graph
    usage                path or model and suffix, seconds
                                                        -> memory_bytes, arena_bytes, energy_j,
                                                           missing
    environment                                         -> knobs as read back
    bye                                                 -> nothing; the process ends

A request has a number, ``request``, which its answer repeats. Errors: ``version``, ``missing``
(with ``package``), ``device`` (no such GPU, driver or compiler), ``usage`` (no such setting),
``refused`` (this job will not run), ``protocol``.
A call of the sentinel takes ``sentinel_s`` beside what is measured, the slower of before and after;
before, up to ``max_wait_s`` are waited for it to take at most ``idle_s``. A call of the memory's
takes ``memory_s``, where it is asked for. What ``hello`` answers as ``carry`` spares the next
process work, if its ``hello`` brings it.
The process ends when stdin does, so it never outlives the one who started it.
"""

from __future__ import annotations

import base64
import importlib
import json
import math
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from latprof.devices.agent._clock import clock_resolution_s
from latprof.devices.agent._energy import EnergyCounter, RaplEnergy
from latprof.devices.agent._host import Knobs, describe_cpu, due_share
from latprof.devices.agent._protocol import (
    GPU_RUNTIME_MODULES,
    PROTOCOL_VERSION,
    RUNTIME_MODULES,
    decode_arrays,
    encode_arrays,
)
from latprof.devices.agent._sentinel import MEMORY_PROBE, Sentinel
from latprof.devices.agent._usage import usage_of
from latprof.devices.agent.runtimes._base import NoDevice, Prepared, Refused, Runtime
from latprof.workloads import workload_from_dict

if TYPE_CHECKING:
    from latprof.devices.agent.cuda._nvml import GpuState

__all__ = ["main"]

#: A GPU's speed changes as it warms, not from one moment to the next, and a probe costs more there.
_GPU_PROBE_EVERY_S = 0.1


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
            number = request.pop("request")
            handler = getattr(self, f"_on_{request.pop('op')}")
        except (ValueError, KeyError, AttributeError, TypeError) as exc:
            return _Problem("protocol", f"not a request: {exc!r}").answer
        return {"request": number, **self._handle(handler, request)}

    def _handle(self, handler: Callable[..., dict[str, Any]], fields: Any) -> dict[str, Any]:
        try:
            return {"ok": True, **handler(**fields)}
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
        settings: dict[str, Any],
        gpu: int | None = None,
        carry: str = "",
    ) -> dict[str, Any]:
        if version != PROTOCOL_VERSION:
            raise _Problem("version", f"protocol {version}; this agent speaks {PROTOCOL_VERSION}")
        gpu_clock = knobs.pop("gpu_clock", "")
        try:  # before the runtime starts its threads
            self._knobs = Knobs(threads, **knobs)
        except Refused as exc:
            raise _Problem("usage", str(exc)) from exc
        given: dict[str, Any] = {"threads": threads}
        device, modules = describe_cpu(), RUNTIME_MODULES
        if gpu is not None:  # what a GPU needs is sent to hosts that measure one
            from latprof.devices.agent.cuda._driver import describe_gpu
            from latprof.devices.agent.cuda._nvml import GpuState

            info = describe_gpu(gpu)
            given = {"gpu": info, **({"carry": carry} if carry else {})}
            device, modules = info.name, GPU_RUNTIME_MODULES
        module, name = modules[runtime]
        try:
            factory = getattr(importlib.import_module(module), name)
        except ModuleNotFoundError as exc:
            raise _Problem("missing", str(exc), package=exc.name) from exc
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

    def _on_set_sentinel(self, id: int) -> dict[str, Any]:
        assert self._knobs is not None
        self._sentinel = Sentinel(
            self._prepared[id],
            self._knobs,
            resolution_s=self._resolution_s,
            every_s=_GPU_PROBE_EVERY_S if self._gpu else 0.0,
        )
        return {}

    def _on_set_memory_sentinel(self, id: int) -> dict[str, Any]:
        assert self._knobs is not None
        self._memory = Sentinel(
            self._prepared[id], self._knobs, resolution_s=self._resolution_s, how=MEMORY_PROBE
        )
        return {}

    def _on_measure(
        self,
        id: int,
        seconds: float,
        drop: bool,
        idle_s: float | None = None,
        max_wait_s: float = 0.0,
        probe_memory: bool = False,
    ) -> dict[str, Any]:
        probed_s = {"memory_s": 0.0, "sentinel_s": 0.0}
        probing_s = waited_s = 0.0
        memory, sentinel = self._memory if probe_memory else None, self._sentinel
        if memory:
            probed_s["memory_s"], probing_s = memory.probe(), memory.cost_s
        if sentinel:
            limit_s = math.inf if idle_s is None else idle_s
            probed_s["sentinel_s"] = sentinel.wait_for_idle(limit_s, max_wait_s)
            probing_s += sentinel.cost_s  # of the last probe; the wait has a figure of its own
            waited_s = sentinel.waited_s
        timed = self._prepared[id].time(measure_s=seconds, resolution_s=self._resolution_s)
        core_share = min(timed.core_share, due_share())
        for name, one in (("sentinel_s", sentinel), ("memory_s", memory)):
            if one:
                probed_s[name] = max(probed_s[name], one.probe())
                probing_s += one.cost_s
        if drop:
            del self._prepared[id]
        return {
            "samples_s": timed.samples_s,
            "core_share": core_share,
            "cost_s": timed.cost_s + probing_s,
            "waited_s": waited_s,
            **probed_s,
        }

    def _on_run(self, inputs: dict[str, Any], **source: Any) -> dict[str, Any]:
        outputs = self._load(**source).run(decode_arrays(inputs))
        return {"outputs": encode_arrays({str(i): o for i, o in enumerate(outputs)})}

    def _on_profile(
        self, seconds: float, path: str | None = None, model: str | None = None
    ) -> dict[str, Any]:
        if self._runtime is None:
            raise _Problem("protocol", "hello comes first")
        source = base64.b64decode(model) if model is not None else str(path)
        return self._runtime.profile(source, seconds)

    def _on_usage(
        self, seconds: float, path: str | None = None, model: str | None = None, suffix: str = ""
    ) -> dict[str, Any]:
        if self._runtime is None:
            raise _Problem("protocol", "hello comes first")
        counter: EnergyCounter = self._gpu.energy if self._gpu is not None else RaplEnergy()
        with _file(path, model, suffix) as file:
            return usage_of(
                self._runtime,
                file,
                counter,
                seconds=seconds,
                resolution_s=self._resolution_s,
                on_gpu=self._gpu is not None,
            )

    def _on_environment(self) -> dict[str, Any]:
        assert self._knobs is not None
        gpu = {"gpu": self._gpu.read()} if self._gpu is not None else {}
        runtime = self._runtime.environment if self._runtime is not None else {}
        return {"numpy": np.__version__, **runtime, **self._knobs.read_back(), **gpu}

    def _on_bye(self) -> dict[str, Any]:
        return {"bye": True}


@contextmanager
def _file(path: str | None, model: str | None, suffix: str) -> Iterator[str]:
    """The model as a file of this host: applications load files, and may map them."""
    if model is None:
        yield str(path)
        return
    with tempfile.TemporaryDirectory(prefix="latprof-") as folder:
        file = Path(folder, f"model{suffix}")
        file.write_bytes(base64.b64decode(model))
        yield str(file)


def main() -> None:
    """Serve on stdin and stdout, and keep what libraries print off both."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the one who started us decides when to stop
    # stdin is buffered already, by the bootstrap that read this code from it.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    Agent().serve(sys.stdin, answers)
