"""Profiling: rounds over fresh processes until every row is measured."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from latprof.devices._device import Array, Device, Job, Reading
from latprof.devices._open import open_device
from latprof.devices._schedule_settings import ScheduleSettings
from latprof.devices._waiting import WaitBudget
from latprof.devices.measure._conditions import Conditions
from latprof.devices.measure._journal import Journal
from latprof.devices.measure._schedule import Schedule, Verdict
from latprof.errors import DeviceError, ModelLoadError, ProtocolError
from latprof.vocabulary import Measurement, Timing
from latprof.workloads import Workload

__all__ = ["Event", "measure_files", "profile", "run_inference"]

#: Rounds that end without a single reading before the device counts as lost.
_EMPTY_ROUNDS = 3


@dataclass(frozen=True)
class Event:
    """Progress. ``done`` of ``total`` rows; ``fraction`` counts readings and moves evenly.

    ``kind`` is ``reading``, ``discarded`` (readings are taken again), ``waiting`` (for the device
    to become idle), ``lost`` (a process ended early; the next round has a new one), ``finished``.
    ``conditions`` are those of the run so far; the last event has those of the whole run.
    """

    kind: str
    done: int
    total: int
    fraction: float
    eta_s: float
    message: str = ""
    conditions: Conditions = field(default_factory=Conditions)


def profile(
    device: Device,
    workloads: Sequence[Workload],
    *,
    journal: Path | None = None,
    settings: ScheduleSettings | None = None,
    on_event: Callable[[Event], None] | None = None,
) -> Iterator[Measurement]:
    """Measure each workload; yields each row as it is finished, in no particular order.

    With a ``journal``, what it already holds is yielded first, without measuring, and a run killed
    at any point loses at most the one reading in progress. Duplicate workloads are measured once.

    Raises:
        TargetMismatchError: the journal is of another target.
        DeviceError: the device is gone; the journal keeps what was measured.
    """
    wanted = list(dict.fromkeys(workloads))
    chosen = settings or ScheduleSettings()
    with contextlib.ExitStack() as stack:
        log = stack.enter_context(Journal(journal, device.target)) if journal else None
        finished = log.finished if log else {}
        yield from (finished[w] for w in wanted if w in finished)
        todo = [w for w in wanted if w not in finished]
        schedule = Schedule(
            todo,
            chosen,
            log.readings if log else None,
            log.seen if log else None,
            baseline=device.baseline,
        )
        done = len(wanted) - len(todo)
        run = _Run(device, schedule, log, on_event, done=done, total=len(wanted))
        for verdict in run.verdicts():
            assert isinstance(verdict.row.job, Workload)
            measurement = Measurement(workload=verdict.row.job, **_timing_fields(verdict))
            if log:
                log.finish(measurement)
            yield measurement


def measure_files(
    device: Device,
    paths: Sequence[Path],
    *,
    settings: ScheduleSettings | None = None,
    on_event: Callable[[Event], None] | None = None,
) -> list[Timing]:
    """Time whole model files in interleaved rounds, so that background load meets all alike.

    Returns one timing per path, in order. Defaults to 7 rounds of 0.02 s per file, and to as many
    as 16 where they disagree: reads from beyond the caches take another time in each round while
    other programs use the memory.

    Raises:
        ModelLoadError: a path is not a file.
        DeviceError: the device is gone.
    """
    for path in paths:
        if not path.is_file():
            raise ModelLoadError(f"{path} is not a file; expected a model the runtime can load")
    chosen = settings or ScheduleSettings(round_s=0.02, converged=0.01, max_rounds=16)
    wanted = list(dict.fromkeys(paths))
    schedule = Schedule(wanted, chosen, baseline=device.baseline)
    run = _Run(device, schedule, None, on_event, done=0, total=len(wanted))
    timings = {v.row.job: Timing(**_timing_fields(v)) for v in run.verdicts()}
    return [timings[path] for path in paths]


def run_inference(device: Device | str, path: Path, inputs: Mapping[str, Array]) -> list[Array]:
    """One inference of a model file: outputs in the file's order.

    Args:
        device: an open device, or the name of a runtime to use on this machine.
        inputs: arrays by the file's input names.
    """
    if isinstance(device, str):
        with open_device("local", runtime=device) as local:
            return local.run(path, inputs)
    return device.run(path, inputs)


class _Run:
    """One device working through one schedule."""

    def __init__(
        self,
        device: Device,
        schedule: Schedule,
        journal: Journal | None,
        on_event: Callable[[Event], None] | None,
        *,
        done: int,
        total: int,
    ) -> None:
        self._device, self._schedule, self._journal = device, schedule, journal
        self._on_event = on_event or (lambda event: None)
        self._start_s = time.monotonic()
        self._pauses = self._discarded = 0
        settings = schedule.settings
        self._budget = WaitBudget(settings.max_wait_share if settings.pause_s else 0.0)
        self._counts = dict.fromkeys(("readings", "throttled", "preempted", "memory_contended"), 0)
        self._done, self._total = done, total

    def verdicts(self) -> Iterator[Verdict]:
        empty = 0
        while True:
            for verdict in self._schedule.finish():
                self._done += 1
                self._tell("finished")
                yield verdict
            jobs = self._schedule.round()
            if not jobs:
                return
            before = self._counts["readings"]
            try:
                self._round(jobs)
            except DeviceError as exc:
                empty = 0 if self._counts["readings"] > before else empty + 1
                if empty >= _EMPTY_ROUNDS:
                    raise
                self._tell("lost", str(exc))
            else:
                empty = 0
            self._end_round(len(jobs))

    def _round(self, jobs: Sequence[Job]) -> None:
        """One fresh process."""
        readings = self._device.round(
            jobs, measure_s=self._schedule.settings.round_s, budget=self._budget
        )
        with contextlib.closing(readings):
            for job in jobs:
                self._take(job, readings)

    def _take(self, job: Job, readings: Iterator[Reading]) -> None:
        """Take the reading of ``job``."""
        start_s = time.monotonic()
        try:
            reading = next(readings)
        except DeviceError as exc:
            self._schedule.crash(job, str(exc))
            raise
        except StopIteration:
            raise ProtocolError(f"the device's round ended before its reading of {job}") from None
        spent_s = time.monotonic() - start_s
        self._budget.add(measured_s=spent_s - reading.waited_s, waited_s=reading.waited_s)
        if reading.error:
            self._schedule.refuse(job, reading.error)
            return
        serial = self._schedule.add(job, reading)
        self._counts["readings"] += 1
        if self._journal and isinstance(job, Workload):
            self._journal.reading(serial, job, reading)
        if reading.core_share < self._schedule.settings.min_core_share:
            self._schedule.preempt(job, serial)
            self._discard("preempted", [(job, serial)], f"had {reading.core_share:.0%} of its core")
            return
        self._tell("reading")

    def _end_round(self, count: int) -> None:
        """Discard readings beside background load; pause after a round that mostly was."""
        throttled, contended = self._schedule.end_round()
        if self._schedule.settings.pause_s:  # else nothing is waited for, nor worth remembering
            self._device.baseline = self._schedule.baseline
        self._discard("throttled", throttled, f"{len(throttled)} readings: the sentinel was slow")
        discarded, self._discarded = self._discarded, 0
        text = f"{len(contended)} readings: the memory was contended"
        self._discard("memory_contended", contended, text)  # no pause helps against that
        self._discarded = 0
        if 2 * discarded <= count:
            self._pauses = 0
            return
        wanted_s = self._schedule.settings.pause_s * 2 ** min(self._pauses, 2)
        pause_s = min(wanted_s, self._budget.left_s)
        if not pause_s:
            return
        self._pauses += 1
        self._tell("waiting", f"{pause_s:.1f} s for the device to become idle")
        time.sleep(pause_s)
        self._budget.add(waited_s=pause_s)

    def _discard(self, why: str, readings: Sequence[tuple[Job, int]], message: str) -> None:
        if not readings:
            return
        self._counts[why] += len(readings)
        self._discarded += len(readings)
        taken_back = [(job, n) for job, n in readings if isinstance(job, Workload)]
        if self._journal and taken_back:
            self._journal.discard(taken_back)
        self._tell("discarded", message)

    def _tell(self, kind: str, message: str = "") -> None:
        left = self._schedule.readings_left
        spent_s = time.monotonic() - self._start_s
        readings = self._counts["readings"]
        fraction = readings / max(1, readings + left)
        eta_s = left * spent_s / max(1, readings)
        budget = self._budget
        conditions = Conditions(
            **self._counts, waited_s=budget.waited_s, measured_s=budget.measured_s
        )
        event = Event(kind, self._done, self._total, fraction, eta_s, message, conditions)
        self._on_event(event)


def _timing_fields(verdict: Verdict) -> dict[str, Any]:
    return {
        "samples_s": tuple(reading.samples_s for reading in verdict.row.readings.values()),
        "slowdown": verdict.slowdowns,
        "status": verdict.status,
        "detail": verdict.detail,
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
