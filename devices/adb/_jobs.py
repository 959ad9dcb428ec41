"""Jobs on their way through benchmark_model: their models, copies and flags, and what came back."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from latprof.devices._device import Job, Reading
from latprof.devices.adb._bench import Bench, Output, Window
from latprof.devices.adb._benchmark_model import ToolRun, check_run, delegate_flags, parse_run
from latprof.devices.adb._models import RESOLVED_S, Repeated, Speed, write_repeated
from latprof.devices.adb._thermal import Thermals
from latprof.devices.agent.runtimes._base import Refused
from latprof.errors import ModelLoadError, UsageError, WorkloadError
from latprof.workloads import Conv2d, Elementwise, MatMul, Workload

__all__ = ["Jobs", "existing"]

_LEAST_MEASURE_S, _LEAST_WARMUP_S = 0.02, 0.01

# Probes: an op of almost no work, one of multiplying, one of reading weights.
_NOTHING = Elementwise("relu", 1, 1, 8)
_COMPUTE = Conv2d(28, 28, 96, 96)
_STREAM = MatMul(1, 1024, 512)
_FASTER = 2.0  # other ops may be this much faster than their probe


class Jobs:
    """What is known of each job. It outlives connections: ``bench`` is set anew for each.

    Args:
        delegate: of DELEGATES.
        precision: ``float32``, ``float16`` or ``int8``: what float32 workloads are computed in;
            float16 holds for float32 files too.
        litert, npu: as delegate_flags takes them.

    Raises:
        UsageError: as delegate_flags.
    """

    def __init__(
        self, delegate: str, precision: str, *, litert: bool, npu: Mapping[str, str]
    ) -> None:
        self.delegate, self.litert = delegate, litert
        self.flags = delegate_flags(delegate, precision, litert=litert, npu=npu)
        self._half_flags, self._no_half = self.flags, ""
        try:
            self._half_flags = delegate_flags(delegate, "float16", litert=litert, npu=npu)
        except UsageError as exc:
            self._no_half = str(exc)
        self._precision = precision
        self.overhead_s, self.spent_s, self.pushes = 0.0, 0.0, 0
        self._speed = Speed()
        self._bench: Bench | None = None
        self._copies: dict[Workload, Repeated] = {}
        self._names: dict[Repeated | Path, str] = {}  # what the phone holds, by its name there

    @property
    def taken(self) -> bool:
        """Whether another run has taken the phone."""
        return self._bench is not None and self._bench.taken

    @property
    def bench(self) -> Bench:
        assert self._bench  # set by the device as soon as it is connected
        return self._bench

    @bench.setter
    def bench(self, bench: Bench) -> None:
        self._bench = bench
        self._names.clear()

    def hold(self, jobs: Iterable[Job]) -> dict[Job, str]:
        """Have every job's model on the phone; gives the refused ones and why."""
        refused: dict[Job, str] = {}

        def missing() -> Iterator[tuple[Repeated | Path, bytes]]:
            for job in dict.fromkeys(jobs):
                key = self._key(job)
                if self._half(job) and self._no_half:
                    refused[job] = self._no_half
                    continue
                try:
                    if isinstance(key, Path):
                        yield key, existing(key).read_bytes()
                    elif key not in self._names:
                        yield key, write_repeated(key)
                except Refused as exc:
                    refused[job] = str(exc)

        before = self.bench.pushes
        try:
            self._names |= self.bench.hold(missing())
        finally:
            self.pushes += self.bench.pushes - before
        return refused

    def _key(self, job: Job) -> Repeated | Path:
        if isinstance(job, Path):
            return job
        op = self._computed(job)
        return self._copies.setdefault(op, Repeated.guess(op, self._speed))

    def _computed(self, job: Workload) -> Workload:
        """The op that is timed for a job: its int8 form where that was asked for."""
        if self._precision == "int8" and job.dtype == "float32":
            return job.with_dtype("int8")
        return job

    def measure(
        self,
        jobs: Sequence[Job],
        readings: dict[int, Reading],
        measure_s: float,
        thermals: Thermals,
    ) -> str:
        """Fill ``readings``; gives what throttled the phone meanwhile, "" for nothing.

        Jobs whose Invoke turns out too short for the tool's clock get more copies and run again.
        """
        for may_top_up in (True, True, False):
            todo = [i for i in range(len(jobs)) if i not in readings]
            if not todo:
                break
            window = Window()
            try:
                self._run([jobs[i] for i in todo], window, measure_s, thermals)
            finally:
                wanting = self._read(jobs, todo, window, readings, may_top_up)
            if throttled := thermals.throttled(window.after):
                for i in todo:
                    readings.pop(i, None)
                return throttled
            self._copies |= {repeated.workload: repeated for repeated in wanting}
            self.hold(repeated.workload for repeated in wanting)
        return ""

    def _read(
        self,
        jobs: Sequence[Job],
        todo: Sequence[int],
        window: Window,
        readings: dict[int, Reading],
        may_top_up: bool,
    ) -> set[Repeated]:
        """Take the readings of a window's outputs; gives what is to run again with more copies."""
        wanting: set[Repeated] = set()
        for i, output in zip(todo, window.outputs, strict=False):
            job = jobs[i]
            try:
                run = self.parse(output)
            except WorkloadError as exc:
                readings[i] = Reading(error=str(exc))
                continue
            if isinstance(job, Workload) and may_top_up:
                tried = self._copies[self._computed(job)]
                more = tried.after(run.low_us * 1e-6)
                if more != tried:
                    wanting.add(more)
                    continue
            readings[i] = self._reading(job, run, output)
        return wanting

    def _reading(self, job: Job, run: ToolRun, output: Output) -> Reading:
        invokes_s = [us * 1e-6 for us in (run.low_us, run.middle_us, run.high_us)]
        if run.low_us * 1e-6 < RESOLVED_S:
            # Whole microseconds are too coarse here; their mean over many runs is not.
            invokes_s = [run.mean_us * 1e-6] * 3
        if isinstance(job, Workload):
            repeated = self._copies[self._computed(job)]
            invokes_s = [repeated.per_op_s(s, self.overhead_s) for s in invokes_s]
        return Reading(samples_s=tuple(invokes_s), cost_s=output.wall_s)

    def _run(
        self, jobs: Sequence[Job], window: Window, measure_s: float, thermals: Thermals
    ) -> None:
        measure_s = max(measure_s, _LEAST_MEASURE_S)
        start_s = time.monotonic()
        try:
            self.bench.run(
                [(self._names[self._key(job)], self._flags_of(job)) for job in jobs],
                window,
                measure_s=measure_s,
                warmup_s=max(measure_s / 2, _LEAST_WARMUP_S),
                after=thermals.command,
            )
        finally:
            self.spent_s += time.monotonic() - start_s

    def _flags_of(self, job: Job) -> Sequence[str]:
        return self._half_flags if self._half(job) else self.flags

    def _half(self, job: Job) -> bool:
        return isinstance(job, Workload) and job.dtype == "float16"

    def parse(self, output: Output) -> ToolRun:
        """What the tool's output says; raises as parse_run."""
        return parse_run(output.text, output.code, delegate=self.delegate, litert=self.litert)

    def output(self, file: Path, measure_s: float, thermals: Thermals) -> Output:
        """What the tool prints of one run of a model file.

        Raises:
            WorkloadError: it refuses the file.
        """
        self.hold([file])
        window = Window()
        self._run([file], window, measure_s, thermals)
        (output,) = window.outputs
        check_run(output.text, output.code, delegate=self.delegate)
        return output

    def reading(self, file: Path, measure_s: float, thermals: Thermals) -> Reading:
        """Of one run of a model file, whatever the phone's heat; without a sentinel."""
        try:
            output = self.output(file, measure_s, thermals)
            return self._reading(file, self.parse(output), output)
        except WorkloadError as exc:
            return Reading(error=str(exc))

    def probe(self, thermals: Thermals) -> bool:
        """Learn what an Invoke takes besides its ops, and how fast ops run, to guess at copies by.

        True where the tool prints percentiles. Also shows whether it runs here and knows its flags,
        before anything is measured.
        """
        probes = [Repeated(op, 1) for op in (_NOTHING, _COMPUTE, _STREAM)]
        names = self.bench.hold((probe, write_repeated(probe)) for probe in probes)
        window = Window()
        self.bench.run(
            [(names[probe], self.flags) for probe in probes] * 2,
            window, measure_s=0.02, warmup_s=0.03, after=thermals.command,
        )  # fmt: skip
        runs = [self.parse(output) for output in window.outputs]
        # The mean of what is shorter than the clock's step; the low end of the rest: other work on
        # the phone must not make its ops look slow.
        self.overhead_s = min(run.mean_us for run in runs[:: len(probes)]) * 1e-6
        compute_us = min(run.low_us for run in runs[1 :: len(probes)])
        stream_us = min(run.low_us for run in runs[2 :: len(probes)])
        self._speed = Speed(
            _FASTER * _COMPUTE.macs / max(compute_us * 1e-6, 1e-6),
            _FASTER * _STREAM.weight_bytes / max(stream_us * 1e-6, 1e-6),
        )
        return runs[0].percentiles


def existing(path: Path) -> Path:
    """Raises ModelLoadError where ``path`` is not a file."""
    if not path.is_file():
        raise ModelLoadError(f"{path} is not a file; expected a .tflite model")
    return path
