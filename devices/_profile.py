"""Profiling: rounds over fresh processes until every row is measured."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from latprof._errors import DeviceError, ModelLoadError
from latprof._measurement import Measurement, Timing
from latprof._workload import Workload
from latprof.devices._device import Array, Device, Job, Reading
from latprof.devices._journal import Journal
from latprof.devices._open import open_device
from latprof.devices._schedule import Row, Schedule, ScheduleSettings, Sentinel

__all__ = ["Event", "measure_files", "profile", "run_file"]

#: Rounds that end without a single reading before the device counts as lost.
_EMPTY_ROUNDS = 3


@dataclass(frozen=True)
class Event:
    """Progress. ``done`` of ``total`` rows; ``fraction`` counts readings and moves evenly.

    ``kind`` is ``reading``, ``disturbed`` (a window is measured again), ``lost`` (a process ended
    early and the round goes on in a new one) or ``finished``.
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
    with contextlib.ExitStack() as stack:
        log = stack.enter_context(Journal(journal, device.target)) if journal else None
        finished = log.finished if log else {}
        yield from (finished[w] for w in wanted if w in finished)
        todo = [w for w in wanted if w not in finished]
        known: dict[Job, list[Reading]] = {w: log.readings.get(w, []) for w in todo} if log else {}
        run = _Run(device, Schedule(todo, settings or ScheduleSettings(), known), log, on_event)
        run.done, run.total = len(wanted) - len(todo), len(wanted)
        for row, status, detail in run.rows():
            assert isinstance(row.job, Workload)
            measurement = Measurement(workload=row.job, **_timing_fields(row, status, detail))
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

    Returns one timing per path, in order. Defaults to 9 rounds of 0.1 s per file.

    Raises:
        ModelLoadError: a path is not a file.
        DeviceError: the device is gone.
    """
    for path in paths:
        if not path.is_file():
            raise ModelLoadError(f"{path} is not a file; expected a model the runtime can load")
    chosen = settings or ScheduleSettings(round_s=0.1, min_rounds=7, max_rounds=9)
    run = _Run(device, Schedule(list(dict.fromkeys(paths)), chosen), None, on_event)
    run.total = len(set(paths))
    timings = {
        row.job: Timing(**_timing_fields(row, status, detail)) for row, status, detail in run.rows()
    }
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
    ) -> None:
        self._device, self._schedule, self._journal = device, schedule, journal
        self._on_event = on_event or (lambda event: None)
        self._sentinel = Sentinel(schedule.settings.sentinel_limit)
        self._start_s = time.monotonic()
        self._readings = 0
        self.done = self.total = 0

    def rows(self) -> Iterator[tuple[Row, str, str]]:
        empty = 0
        while True:
            for finished in self._schedule.finish():
                self.done += 1
                self._tell("finished")
                yield finished
            windows = self._schedule.windows()
            if not windows:
                return
            before = self._readings
            try:
                self._round(windows)
            except DeviceError as exc:
                empty = 0 if self._readings > before else empty + 1
                if empty >= _EMPTY_ROUNDS:
                    raise
                self._tell("lost", str(exc))
            else:
                empty = 0

    def _round(self, windows: Sequence[Sequence[Job]]) -> None:
        """One fresh process: sentinel, window, sentinel, window, ..., sentinel."""
        sentinel = self._device.sentinel
        order: list[Job] = [sentinel]
        for window in windows:
            order += [*window, sentinel]
        readings = self._device.round(order, measure_s=self._schedule.settings.round_s)
        with contextlib.closing(readings):
            before_s = self._sentinel.add(next(readings))
            for window in windows:
                held = [job for job in window if self._take(job, readings)]
                after_s = self._sentinel.add(next(readings))
                worst_s = max(before_s, after_s)
                if held and self._sentinel.disturbed(worst_s):
                    self._discard(held, f"the sentinel took {worst_s * 1e6:.1f} us")
                before_s = after_s

    def _take(self, job: Job, readings: Iterator[Reading]) -> bool:
        """Take the reading of ``job``; True where it is kept for now."""
        try:
            reading = next(readings)
        except DeviceError as exc:
            self._schedule.strike(job, str(exc))
            raise
        if reading.error:
            self._schedule.refuse(job, reading.error)
            return False
        self._schedule.keep(job, reading)
        self._readings += 1
        if self._journal and isinstance(job, Workload):
            self._journal.add_reading(job, reading)
        if reading.busy < self._schedule.settings.min_busy:
            self._discard([job], f"had the core {reading.busy:.0%} of the time")
            return False
        self._tell("reading")
        return True

    def _discard(self, jobs: Sequence[Job], why: str) -> None:
        for job in jobs:
            self._schedule.discard(job)
        if self._journal:
            self._journal.discard([job for job in jobs if isinstance(job, Workload)])
        self._tell("disturbed", why)

    def _tell(self, kind: str, message: str = "") -> None:
        left = self._schedule.rounds_left
        spent_s = time.monotonic() - self._start_s
        per_reading_s = spent_s / self._readings if self._readings else 0.0
        self._on_event(
            Event(
                kind,
                self.done,
                self.total,
                self._readings / max(1, self._readings + left),
                left * per_reading_s,
                message,
            )
        )


def _timing_fields(row: Row, status: str, detail: str) -> dict[str, Any]:
    return {
        "samples_s": tuple(reading.samples_s for reading in row.readings),
        "status": status,
        "detail": detail,
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
