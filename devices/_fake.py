"""A device that is pure arithmetic: an exact, seeded latency law, and faults on command."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from latprof.devices._device import Array, Device, Job, Reading, refused_sentinel
from latprof.devices._usage import Usage
from latprof.devices._waiting import WaitBudget
from latprof.devices.agent import Setting
from latprof.errors import (
    DeviceError,
    DeviceLostError,
    DeviceTimeoutError,
    ProtocolError,
    WorkloadError,
)
from latprof.vocabulary import Target

__all__ = ["FAKE_SETTINGS", "BackgroundLoad", "FakeDevice"]

#: What can be set of it by name.
FAKE_SETTINGS = (
    Setting("seed", "of the law's coefficients and of the noise", "integer", default="0"),
    Setting("stair", "output channels per step of the law", "count", default="16"),
    Setting("process_noise", "relative noise of each process", "number", default="0"),
    Setting("sample_noise", "relative noise of each sample", "number", default="0"),
    Setting("drift", "relative slowdown per second", "number", default="0"),
    Setting("throttle_after_s", "seconds until it throttles", "number", default="0"),
    Setting("throttle_slowdown", "how much slower it becomes then", "number", default="1"),
    Setting("throttle_settle_s", "time constant of that, seconds", "number", default="0"),
)

_FAULTS: dict[str, type[DeviceError]] = {
    "die": DeviceLostError,
    "hang": DeviceTimeoutError,
    "garbage": ProtocolError,
}
#: What its sentinel of the memory takes while idle.
_MEMORY_S = 1e-4
#: Of its law of memory, and of energy.
_ARENA_BYTES, _POWER_W = 1 << 20, 2.0


@dataclass(frozen=True)
class BackgroundLoad:
    """From ``start_s`` to ``end_s`` of the device's own clock, calls take ``slowdown`` times as
    long, the process gets ``core_share`` of its core, and the bytes of files take
    ``memory_slowdown`` times as long."""

    start_s: float
    end_s: float
    slowdown: float = 1.0
    core_share: float = 1.0
    memory_slowdown: float = 1.0


@dataclass
class FakeDevice(Device):
    """Latency by a law, noise by a seed, failures by reading number.

    The law of a workload is a constant, plus its MACs with c_out rounded up to ``stair`` channels,
    plus its bytes; of a file, a constant plus its size. Time passes only in readings.

    Args:
        seed: of the law's coefficients and of the noise.
        stair: output channels per step.
        process_noise: standard deviation of a factor that each job has in each process, as from
            where its memory lies.
        sample_noise: mean of the exponential that is added to each sample, relative.
        drift: relative slow-down per second of the device's clock.
        throttle_after_s, throttle_slowdown, throttle_settle_s: it throttles as it warms; see
            ``throttled_at``.
        loads: background load, by time.
        faults: reading number, counted from 0 over the device's life -> ``die``, ``hang``,
            ``garbage``; each happens once.
        refuses: workloads that the runtime refuses.
    """

    seed: int = 0
    stair: int = 16
    process_noise: float = 0.0
    sample_noise: float = 0.0
    drift: float = 0.0
    throttle_after_s: float = 0.0
    throttle_slowdown: float = 1.0
    throttle_settle_s: float = 0.0
    loads: Sequence[BackgroundLoad] = ()
    faults: Mapping[int, str] = field(default_factory=dict)
    refuses: Callable[[Job], bool] = lambda job: False
    name: str = "fake"
    #: The device's clock, the number of readings, and every job that was begun, for tests.
    clock_s: float = 0.0
    readings: int = 0
    log: list[Job] = field(default_factory=list)

    def __post_init__(self) -> None:
        coefficients = np.random.default_rng(self.seed)
        self._constant_s = float(coefficients.uniform(1e-6, 3e-6))
        self._s_per_mac = float(coefficients.uniform(0.5e-11, 2e-11))
        self._s_per_byte = float(coefficients.uniform(0.5e-10, 2e-10))
        self._noise = np.random.default_rng([self.seed, 1])

    @property
    def target(self) -> Target:
        settings = (("seed", str(self.seed)), ("stair", str(self.stair)))
        return Target(self.name, "fake", "1", settings=settings)

    def law_s(self, job: Job) -> float:
        """The exact latency, without any noise."""
        if isinstance(job, Path):
            return self._constant_s + self._s_per_byte * job.stat().st_size
        padded = job
        if not job.tied:
            c_in, c_out = job.channels
            groups = job.groups
            step = self.stair * groups // math.gcd(self.stair, groups)
            padded = job.with_channels(c_in, -(-c_out // step) * step)
        moved = job.weight_bytes + job.activation_bytes
        return self._constant_s + self._s_per_mac * padded.macs + self._s_per_byte * moved

    def throttled_at(self, at_s: float) -> float:
        """The exact slowdown by heat at a moment of the device's clock: 1 until
        ``throttle_after_s``, then towards ``throttle_slowdown``, from which it is less by a factor
        of e each ``throttle_settle_s``."""
        warm_s = at_s - self.throttle_after_s
        if warm_s < 0:
            return 1.0
        cold = math.exp(-warm_s / self.throttle_settle_s) if self.throttle_settle_s else 0.0
        return 1.0 + (self.throttle_slowdown - 1.0) * (1.0 - cold)

    def clock_now_s(self) -> float:
        return self.clock_s

    def round(
        self, jobs: Sequence[Job], *, measure_s: float, budget: WaitBudget | None = None
    ) -> Generator[Reading]:
        if self.refuses(self.sentinel):
            raise refused_sentinel(f"{self.name}: refuses {self.sentinel}")
        for job in jobs:
            fault = self.faults.get(self.readings)
            self.readings += 1
            self.log.append(job)
            if fault is not None:
                raise _FAULTS[fault](
                    f"{self.name}: {fault} on command, reading {self.readings - 1}"
                )
            if self.refuses(job):
                yield Reading(error=f"{self.name}: refuses {job}")
                continue
            yield self._reading(job, measure_s)

    def _reading(self, job: Job, measure_s: float) -> Reading:
        factor = float(np.exp(self._noise.normal(0.0, self.process_noise)))
        slowdown = (1.0 + self.drift * self.clock_s) * self.throttled_at(self.clock_s)
        core_share = 1.0
        memory_slowdown = 1.0
        before = self._sentinels(self.clock_s)
        for load in self.loads:
            # The part of this reading that the load covers.
            start_s = max(self.clock_s, load.start_s)
            overlap_s = min(self.clock_s + measure_s, load.end_s) - start_s
            part = max(0.0, overlap_s) / measure_s
            slowdown *= 1.0 + part * (load.slowdown - 1.0)
            core_share *= 1.0 - part * (1.0 - load.core_share)
            memory_slowdown *= 1.0 + part * (load.memory_slowdown - 1.0)
        waits_s = (memory_slowdown - 1.0) * (self.law_s(job) - self._constant_s)
        base_s = (self.law_s(job) + waits_s * isinstance(job, Path)) * factor * slowdown
        tail = self._noise.exponential(self.sample_noise, 20) if self.sample_noise else np.zeros(20)
        self.clock_s += measure_s
        sentinel_s, memory_s = map(max, before, self._sentinels(self.clock_s))
        samples_s = tuple((base_s * (1.0 + tail)).tolist())
        return Reading(
            samples_s, core_share, measure_s, sentinel_s, memory_s if isinstance(job, Path) else 0.0
        )

    def _sentinels(self, at_s: float) -> tuple[float, float]:
        """What those of the core and of the memory take at one moment."""
        now = [t for t in self.loads if t.start_s <= at_s < t.end_s]
        drifted_s = self.law_s(self.sentinel) * (1.0 + self.drift * at_s)
        drifted_s *= self.throttled_at(at_s)
        return (
            math.prod((t.slowdown for t in now), start=drifted_s),
            math.prod((t.memory_slowdown for t in now), start=_MEMORY_S),
        )

    def run(self, path: Path, inputs: Mapping[str, Array]) -> list[Array]:
        raise WorkloadError(f"{self.name} has a latency law, not arithmetic; it cannot run {path}")

    def usage(self, path: Path, *, measure_s: float) -> Usage:
        """Twice the file and an arena of 1 MiB; 2 W for as long as the law says."""
        memory_bytes = 2 * path.stat().st_size + _ARENA_BYTES
        return Usage(memory_bytes, _ARENA_BYTES, _POWER_W * self.law_s(path))

    def environment(self) -> dict[str, Any]:
        return {"clock_s": self.clock_s, "readings": self.readings, "refused": {}}

    def close(self) -> None:
        """Nothing is held."""
