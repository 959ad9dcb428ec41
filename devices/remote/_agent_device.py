"""Devices that have an agent: this machine, and machines over ssh."""

from __future__ import annotations

import base64
import math
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from latprof.devices._device import Array, Device, Job, Reading, refused_sentinel
from latprof.devices._op_profile import OpProfile
from latprof.devices._schedule_settings import ScheduleSettings, default_pause_s
from latprof.devices._sentinel_times import (
    SentinelTimes,
    load_sentinel_times,
    save_sentinel_times,
)
from latprof.devices._usage import Usage
from latprof.devices._waiting import WaitBudget
from latprof.devices.agent import decode_arrays, encode_arrays
from latprof.devices.remote._answer import Answer
from latprof.devices.remote._client import AgentOptions, AgentProcess
from latprof.errors import (
    DeviceLostError,
    ModelLoadError,
    ProtocolError,
    UnknownDeviceError,
    WorkloadError,
)
from latprof.vocabulary import Target
from latprof.workloads import MatMul, Workload

__all__ = ["AgentDevice"]

_DISPATCH_S = 0.005
#: Probes of a device, each after a wait of at most so long, before its remembered sentinel times
#: are taken to be those of another machine.
_OPENING_PROBES, _OPENING_WAIT_S = 3, 0.2
_SENTINEL, _MEMORY = -1, -2  # their ids in the agent
#: Four megabytes of weights, each used once: a call takes what lies beyond the near caches takes.
_STREAM = MatMul(1, 1024, 1024)
#: Ops that move this many bytes depend on it, and model files may.
_BEYOND_CACHES = 1 << 20
#: Where the sentinel takes more than this many times what it takes on an idle core, another core
#: may be idle.
_MAX_IDLE_SLOWDOWN = 1.08
#: To load a model twice, write what the runtime made of it, and read the profile, at most.
_PROFILE_S = 120.0
#: Waited for an idle core before one reading, at most.
_MAX_WAIT_S = 0.5


class AgentDevice(Device):
    """A host that runs our agent.

    Args:
        options: how the agent is started there.
        shares_files: True where the agent sees this machine's files.
    """

    def __init__(self, options: AgentOptions, *, shares_files: bool) -> None:
        self._options, self._shares_files = options, shares_files
        self._carry = ""
        with AgentProcess(options) as agent:
            hello, self._environment = agent.hello, agent.ask("environment").fields
            self._target = self._target_of(hello)
            self._remembered_as = f"{options.name}: {self._target}"
            agent.ask("prepare", id=0)
            known = load_sentinel_times(self._remembered_as) if self._remembers else SentinelTimes()
            least = self._least(agent, known)
        self._carry = hello.text("carry")
        self._environment["clock_resolution_s"] = hello.number("clock_resolution_s")
        # What one call costs however little it computes; every row holds it once.
        self._environment["dispatch_s"] = float(np.percentile(least.samples("samples_s"), 20))
        self._gpu_after: dict[str, Any] = {}
        self._slowed_by: set[str] = set()

    def _target_of(self, hello: Answer) -> Target:
        changed = {name: str(value) for name, value in hello.mapping("settings").items()}
        if self._options.knobs.get("governor"):
            changed["governor"] = str(self._environment.get("governor"))  # as read back
        if clock := self._options.knobs.get("gpu_clock"):
            changed["gpu_clock"] = clock
        return Target(
            device=hello.text("device"),
            runtime=self._options.runtime,
            runtime_version=hello.text("runtime_version"),
            threads=self._options.threads,
            precision=hello.text("precision"),
            delegate=hello.text("delegate"),
            settings=tuple(sorted(changed.items())),
        )

    @property
    def _remembers(self) -> bool:
        """Whether its sentinel times are worth remembering; a GPU's depend on its heat."""
        return default_pause_s() > 0 and self._options.gpu is None

    def _least(self, agent: AgentProcess, known: SentinelTimes) -> Answer:
        """The timing of a call that computes next to nothing.

        Takes ``known`` for the baseline where the sentinel comes near to it, now or in a moment: a
        device may be a little slower than it was for good, but not more.
        """
        limit_s = ScheduleSettings.max_corrected_slowdown * known.core_s
        waiting: dict[str, float] = {}
        if limit_s < math.inf:
            self._set_sentinels(agent)
            waiting = {"idle_s": limit_s, "max_wait_s": _OPENING_WAIT_S}
        for _ in range(_OPENING_PROBES):
            least = agent.ask("measure", id=0, seconds=_DISPATCH_S, drop=False, **waiting)
            if least.number("sentinel_s") <= limit_s:
                self.baseline = known
                break
        return least

    def _another_agent(self) -> AgentProcess:
        """An agent after the first: the device is known by now, so what fails is its loss."""
        try:
            return AgentProcess(self._options, carry=self._carry)
        except UnknownDeviceError as exc:
            raise DeviceLostError(str(exc)) from exc

    @property
    def target(self) -> Target:
        return self._target

    @property
    def sentinel(self) -> Workload:
        # A GPU needs more work than a core does before its clocks matter.
        return super().sentinel if self._options.gpu is None else MatMul(1024, 1024, 1024)

    def round(
        self, jobs: Sequence[Job], *, measure_s: float, budget: WaitBudget | None = None
    ) -> Generator[Reading]:
        last_use = {job: i for i, job in enumerate(jobs)}
        ids: dict[Job, int] = {}
        with self._another_agent() as agent:
            self._set_sentinels(agent, memory=any(map(self._streams, jobs)))
            for i, job in enumerate(jobs):
                try:
                    if job not in ids:
                        agent.ask("prepare", id=i, **self._source(job))
                        ids[job] = i
                    answer = self._measure(
                        agent, ids[job], job, measure_s, budget, drop=last_use[job] == i
                    )
                except WorkloadError as exc:
                    yield Reading(error=str(exc))
                    continue
                if self._options.gpu is not None and i == len(jobs) - 1:  # while it is warm
                    self._gpu_after = agent.ask("environment").mapping("gpu")
                    self._slowed_by |= set(self._gpu_after.get("slowed_by", ()))
                yield Reading(
                    samples_s=answer.samples("samples_s"),
                    core_share=answer.number("core_share", at_most=1.0),
                    cost_s=answer.number("cost_s"),
                    sentinel_s=answer.number("sentinel_s"),
                    memory_s=answer.number("memory_s"),
                    waited_s=answer.number("waited_s"),
                )

    def _measure(
        self,
        agent: AgentProcess,
        id: int,
        job: Job,
        measure_s: float,
        budget: WaitBudget | None,
        *,
        drop: bool,
    ) -> Answer:
        waiting: dict[str, float] = {}
        idle_s = _MAX_IDLE_SLOWDOWN * self.baseline.core_s
        if budget is not None and idle_s < math.inf:
            waiting = {"idle_s": idle_s, "max_wait_s": min(budget.left_s, _MAX_WAIT_S)}
        return agent.ask(
            "measure",
            takes_s=measure_s + waiting.get("max_wait_s", 0.0),
            id=id,
            seconds=measure_s,
            drop=drop,
            probe_memory=self._streams(job),
            **waiting,
        )

    def _streams(self, job: Job) -> bool:
        """Whether the memory of the host is probed beside it."""
        if self._options.gpu is not None:
            return False
        return isinstance(job, Path) or job.weight_bytes + job.activation_bytes >= _BEYOND_CACHES

    def _set_sentinels(self, agent: AgentProcess, *, memory: bool = False) -> None:
        try:
            agent.ask("prepare", id=_SENTINEL, **self._source(self.sentinel))
            agent.ask("set_sentinel", id=_SENTINEL)
            if memory:
                agent.ask("prepare", id=_MEMORY, **self._source(_STREAM))
                agent.ask("set_memory_sentinel", id=_MEMORY)
        except WorkloadError as exc:
            raise refused_sentinel(str(exc)) from exc

    def run(self, path: Path, inputs: Mapping[str, Array]) -> list[Array]:
        with self._another_agent() as agent:
            answer = agent.ask("run", inputs=encode_arrays(dict(inputs)), **self._source(path))
        try:
            outputs = decode_arrays(answer.mapping("outputs"))
            return [outputs[str(i)] for i in range(len(outputs))]
        except (ValueError, KeyError, TypeError) as exc:
            raise ProtocolError(
                f"{self._options.name}: outputs in the answer to run are no arrays: {exc}"
            ) from exc

    def profile_ops(self, path: Path, *, measure_s: float) -> OpProfile:
        with self._another_agent() as agent:
            answer = agent.ask(
                "profile",
                takes_s=_PROFILE_S + 4 * measure_s,
                seconds=measure_s,
                **self._source(path),
            )
        return answer.op_profile()

    def usage(self, path: Path, *, measure_s: float) -> Usage:
        suffix = {} if self._shares_files else {"suffix": path.suffix}
        with self._another_agent() as agent:
            answer = agent.ask(
                "usage", takes_s=4 * measure_s, seconds=measure_s, **self._source(path), **suffix
            )
        return answer.usage()

    def environment(self) -> dict[str, Any]:
        if not self._gpu_after:
            return dict(self._environment)
        after = {"gpu_after": self._gpu_after, "gpu_slowed_by": sorted(self._slowed_by)}
        return {**self._environment, **after}

    def close(self) -> None:
        """Nothing outlives a round here: the agent restores its knobs when it ends."""
        if self._remembers:
            save_sentinel_times(self._remembered_as, self.baseline)

    def _source(self, job: Job) -> dict[str, Any]:
        if isinstance(job, Workload):
            return {"workload": job.to_dict()}
        if not job.is_file():
            raise ModelLoadError(f"{job} is not a file; expected a model the runtime can load")
        if self._shares_files:
            return {"path": str(job.resolve())}
        return {"model": base64.b64encode(job.read_bytes()).decode()}
