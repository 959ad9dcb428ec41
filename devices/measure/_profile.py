"""Profiling: rounds over fresh processes until every row is measured."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from latprof.devices._device import Array, Device, Job, Reading
from latprof.devices._open import open_device
from latprof.devices._schedule_settings import ScheduleSettings
from latprof.devices.measure._journal import Journal
from latprof.devices.measure._schedule import Schedule, Verdict
from latprof.errors import DeviceError, ModelLoadError
from latprof.vocabulary import Measurement, Timing
from latprof.workloads import Workload

__all__ = ["Event", "measure_files", "profile", "run_file"]

#: Rounds that end without a single reading before the device counts as lost.
_EMPTY_ROUNDS = 3

#: Rests in a row, 19 times ``pause_s`` in all, after which a device will not calm down soon.
_PAUSES = 6


@dataclass(frozen=True)
class Event:
    """Progress. ``done`` of ``total`` rows; ``fraction`` counts readings and moves evenly.

    ``kind`` is ``reading``, ``disturbed`` (readings are taken again), ``waiting`` (for the device
    to calm down), ``lost`` (a process ended early; the next round has a new one), ``finished``.
    """

    kind: str
    done: int
    total: int
    fraction: float
    eta_s: float
    message: str = ""


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
            best=device.best,
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
    """Time whole model files in interleaved rounds, so that they are compared in the same weather.

    Returns one timing per path, in order. Defaults to 7 rounds of 0.02 s per file, and to as many
    as 16 where they disagree: what comes from beyond the caches is of another latency each time
    where others use the memory.

    Raises:
        ModelLoadError: a path is not a file.
        DeviceError: the device is gone.
    """
    for path in paths:
        if not path.is_file():
            raise ModelLoadError(f"{path} is not a file; expected a model the runtime can load")
    chosen = settings or ScheduleSettings(round_s=0.02, converged=0.01, max_rounds=16)
    wanted = list(dict.fromkeys(paths))
    schedule = Schedule(wanted, chosen, best=device.best)
    run = _Run(device, schedule, None, on_event, done=0, total=len(wanted))
    timings = {v.row.job: Timing(**_timing_fields(v)) for v in run.verdicts()}
    return [timings[path] for path in paths]


def run_file(device: Device | str, path: Path, inputs: Mapping[str, Array]) -> list[Array]:
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
        self._readings = 0
        self._pauses = self._aside = 0
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
            before = self._readings
            try:
                self._round(jobs)
            except DeviceError as exc:
                empty = 0 if self._readings > before else empty + 1
                if empty >= _EMPTY_ROUNDS:
                    raise
                self._tell("lost", str(exc))
            else:
                empty = 0
            self._judge(len(jobs))

    def _round(self, jobs: Sequence[Job]) -> None:
        """One fresh process."""
        readings = self._device.round(jobs, measure_s=self._schedule.settings.round_s)
        with contextlib.closing(readings):
            for job in jobs:
                self._take(job, readings)

    def _take(self, job: Job, readings: Iterator[Reading]) -> None:
        """Take the reading of ``job``."""
        try:
            reading = next(readings)
        except DeviceError as exc:
            self._schedule.strike(job, str(exc))
            raise
        if reading.error:
            self._schedule.refuse(job, reading.error)
            return
        serial = self._schedule.keep(job, reading)
        self._readings += 1
        if self._journal and isinstance(job, Workload):
            self._journal.reading(serial, job, reading)
        if reading.busy < self._schedule.settings.min_busy:
            self._schedule.share(job, serial)
            self._record_discards([(job, serial)])
            self._aside += 1
            self._tell("disturbed", f"shared its core: {reading.busy:.0%} was its own")
            return
        self._tell("reading")

    def _judge(self, count: int) -> None:
        """Set disturbed readings aside; rest a while after a round that mostly was."""
        slow, crowded = self._schedule.judge()
        if self._schedule.settings.pause_s:  # else nothing is waited for, a calm core neither
            self._device.best = self._schedule.best
        self._record_discards(slow + crowded)
        if slow:
            self._tell("disturbed", f"{len(slow)} readings: the sentinel was slow")
        if crowded:  # no rest helps against that
            self._tell("disturbed", f"{len(crowded)} readings: the memory was busy")
        aside, self._aside = self._aside + len(slow), 0
        if 2 * aside <= count:
            self._pauses = 0
            return
        if self._pauses == _PAUSES:  # rest has not helped; measuring on costs less
            return
        pause_s = self._schedule.settings.pause_s * 2 ** min(self._pauses, 2)
        self._pauses += 1
        self._tell("waiting", f"{pause_s:.1f} s for the device to calm down")
        time.sleep(pause_s)

    def _record_discards(self, readings: Sequence[tuple[Job, int]]) -> None:
        taken_back = [(job, n) for job, n in readings if isinstance(job, Workload)]
        if self._journal and taken_back:
            self._journal.discard(taken_back)

    def _tell(self, kind: str, message: str = "") -> None:
        left = self._schedule.readings_left
        spent_s = time.monotonic() - self._start_s
        per_reading_s = spent_s / self._readings if self._readings else 0.0
        fraction = self._readings / max(1, self._readings + left)
        eta_s = left * per_reading_s
        self._on_event(Event(kind, self._done, self._total, fraction, eta_s, message))


def _timing_fields(verdict: Verdict) -> dict[str, Any]:
    return {
        "samples_s": tuple(reading.samples_s for reading in verdict.row.readings.values()),
        "slowdown": verdict.pace,
        "status": verdict.status,
        "detail": verdict.detail,
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
