"""Devices that have an agent: this machine, and machines over ssh."""

from __future__ import annotations

import base64
import math
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from latprof.devices._device import Array, Device, Job, Reading, refused_sentinel
from latprof.devices._pace import Pace, recall, remember
from latprof.devices._schedule_settings import ScheduleSettings, default_pause_s
from latprof.devices.agent import decode_arrays, encode_arrays
from latprof.devices.remote._client import AgentProcess, Hint
from latprof.errors import DeviceLostError, ModelLoadError, UnknownDeviceError, WorkloadError
from latprof.vocabulary import Target
from latprof.workloads import MatMul, Workload

__all__ = ["AgentDevice"]

_DISPATCH_S = 0.005
#: At a device, before it is taken for another than it was.
_LOOKS = 3
_SENTINEL, _MEMORY = -1, -2  # their ids in the agent
#: Four megabytes of weights, each used once: a call takes what lies beyond the near caches takes.
_STREAM = MatMul(1, 1024, 1024)
#: Ops that move this many bytes depend on it, and model files may.
_BEYOND_CACHES = 1 << 20
#: Where the sentinel takes more than this many times its best, another core may be calmer.
_RESTLESS = 1.08
#: How long a round waits for a calm core where there is none.
_PATIENCE_S, _PATIENCE_PER_JOB_S = 1.0, 0.05


class AgentDevice(Device):
    """A host that runs our agent.

    Args:
        name: the spec, for messages.
        command: argv that runs the agent's bootstrap there.
        shares_files: True where the agent sees this machine's files.
        hints: see AgentProcess.
        gpu: the index of the GPU there that the runtime is to use; None for the CPU.
        limit_s: seconds without an answer before DeviceTimeoutError.
        knobs: ``affinity`` and ``governor``, see ``agent._host.Knobs``; ``gpu_clock``, see
            ``agent.cuda._nvml.GpuState``.
        settings: the runtime's own.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        runtime: str,
        threads: int,
        shares_files: bool,
        gpu: int | None = None,
        limit_s: float = 60.0,
        hints: Sequence[Hint] = (),
        knobs: Mapping[str, str] | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self._name, self._command, self._shares_files = name, list(command), shares_files
        self._start: dict[str, Any] = {
            "name": name,
            "runtime": runtime,
            "threads": threads,
            "gpu": gpu,
            "knobs": dict(knobs or {}),
            "settings": dict(settings or {}),
            "limit_s": limit_s,
            "hints": hints,
        }
        with self._agent() as agent:
            hello, self._environment = agent.hello, agent.ask("environment")
            self._target = self._target_of(hello)
            self._pace_of = f"{name}: {self._target}"
            agent.ask("prepare", id=0)
            best = recall(self._pace_of) if self._remembers else Pace()
            least = self._least(agent, best)
        self._start["carry"] = hello["carry"]
        self._environment["clock_resolution_s"] = hello["clock_resolution_s"]
        # What one call costs however little it computes; every row holds it once.
        self._environment["dispatch_s"] = float(np.percentile(least["samples_s"], 20))
        del self._environment["ok"]
        self._gpu_after: dict[str, Any] = {}
        self._slowed_by: set[str] = set()

    def _target_of(self, hello: Mapping[str, Any]) -> Target:
        changed = dict(hello["settings"])
        if self._start["knobs"].get("governor"):
            changed["governor"] = str(self._environment["governor"])  # as read back
        if clock := self._start["knobs"].get("gpu_clock"):
            changed["gpu_clock"] = clock
        return Target(
            device=str(hello["device"]),
            runtime=self._start["runtime"],
            runtime_version=str(hello["runtime_version"]),
            threads=self._start["threads"],
            precision=str(hello["precision"]),
            delegate=str(hello["delegate"]),
            settings=tuple(sorted(changed.items())),
        )

    @property
    def _remembers(self) -> bool:
        """Whether its best pace is worth remembering; a GPU's depends on its heat."""
        return default_pause_s() > 0 and self._start["gpu"] is None

    def _least(self, agent: AgentProcess, best: Pace) -> dict[str, Any]:
        """The timing of a call that computes next to nothing; takes ``best`` for the best pace
        where the core comes as near to it, now or in a while, as one that has settled."""
        calm_s = ScheduleSettings.settled_limit * best.core_s
        known = {}
        if calm_s < math.inf:
            self._watch(agent, patience_s=_PATIENCE_S)
            known = {"calm_s": calm_s}
        for _ in range(_LOOKS):
            least = agent.ask(
                "measure", takes_s=_PATIENCE_S, id=0, seconds=_DISPATCH_S, drop=False, **known
            )
            if least["sentinel_s"] <= calm_s:
                self.best = best
                break
        return least

    def _agent(self) -> AgentProcess:
        return AgentProcess(self._command, **self._start)

    def _another_agent(self) -> AgentProcess:
        """An agent after the first: the device is known by now, so what fails is its loss."""
        try:
            return self._agent()
        except UnknownDeviceError as exc:
            raise DeviceLostError(str(exc)) from exc

    @property
    def target(self) -> Target:
        return self._target

    @property
    def sentinel(self) -> Workload:
        # A GPU needs more work than a core does before its clocks matter.
        return super().sentinel if self._start["gpu"] is None else MatMul(1024, 1024, 1024)

    def round(self, jobs: Sequence[Job], *, measure_s: float) -> Generator[Reading]:
        last_use = {job: i for i, job in enumerate(jobs)}
        ids: dict[Job, int] = {}
        with self._another_agent() as agent:
            patience_s = _PATIENCE_S + _PATIENCE_PER_JOB_S * len(jobs)
            self._watch(agent, patience_s=patience_s, memory=any(map(self._streams, jobs)))
            calm_s = _RESTLESS * self.best.core_s
            known = {"calm_s": calm_s} if calm_s < math.inf else {}
            for i, job in enumerate(jobs):
                try:
                    if job not in ids:
                        agent.ask("prepare", id=i, **self._source(job))
                        ids[job] = i
                    answer = agent.ask(
                        "measure",
                        takes_s=measure_s + patience_s,
                        id=ids[job],
                        seconds=measure_s,
                        drop=last_use[job] == i,
                        memory=self._streams(job),
                        **known,
                    )
                except WorkloadError as exc:
                    yield Reading(error=str(exc))
                    continue
                if self._start["gpu"] is not None and i == len(jobs) - 1:  # while it is warm
                    self._gpu_after = agent.ask("environment")["gpu"]
                    self._slowed_by |= set(self._gpu_after.get("slowed_by", ()))
                yield Reading(
                    samples_s=tuple(answer["samples_s"]),
                    busy=answer["busy"],
                    cost_s=answer["cost_s"],
                    sentinel_s=answer["sentinel_s"],
                    memory_s=answer["memory_s"],
                )

    def _streams(self, job: Job) -> bool:
        """Whether the memory of the host is looked at beside it."""
        if self._start["gpu"] is not None:
            return False
        return isinstance(job, Path) or job.weight_bytes + job.activation_bytes >= _BEYOND_CACHES

    def _watch(self, agent: AgentProcess, *, patience_s: float, memory: bool = False) -> None:
        try:
            agent.ask("prepare", id=_SENTINEL, **self._source(self.sentinel))
            agent.ask("watch", id=_SENTINEL, patience_s=patience_s)
            if memory:
                agent.ask("prepare", id=_MEMORY, **self._source(_STREAM))
                agent.ask("watch_memory", id=_MEMORY)
        except WorkloadError as exc:
            raise refused_sentinel(str(exc)) from exc

    def run(self, path: Path, inputs: Mapping[str, Array]) -> list[Array]:
        with self._another_agent() as agent:
            answer = agent.ask("run", inputs=encode_arrays(dict(inputs)), **self._source(path))
        outputs = decode_arrays(answer["outputs"])
        return [outputs[str(i)] for i in range(len(outputs))]

    def environment(self) -> dict[str, Any]:
        if not self._gpu_after:
            return dict(self._environment)
        after = {"gpu_after": self._gpu_after, "gpu_slowed_by": sorted(self._slowed_by)}
        return {**self._environment, **after}

    def close(self) -> None:
        """Nothing outlives a round here: the agent restores its knobs when it ends."""
        if self._remembers:
            remember(self._pace_of, self.best)

    def _source(self, job: Job) -> dict[str, Any]:
        if isinstance(job, Workload):
            return {"workload": job.to_dict()}
        if not job.is_file():
            raise ModelLoadError(f"{job} is not a file; expected a model the runtime can load")
        if self._shares_files:
            return {"path": str(job.resolve())}
        return {"model": base64.b64encode(job.read_bytes()).decode()}
