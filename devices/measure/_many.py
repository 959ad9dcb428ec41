"""Several devices at once: those of one target share a plan's shapes."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from latprof.devices._device import Device
from latprof.devices._schedule_settings import ScheduleSettings
from latprof.devices.measure._journal import Journal
from latprof.devices.measure._profile import Event, profile
from latprof.errors import DeviceLostError, LatprofError, UsageError
from latprof.vocabulary import Measurement, Target
from latprof.workloads import Workload

__all__ = ["profile_many"]

#: Shapes that a device takes from the plan at a time: enough to interleave, few enough to share.
_SHARE = 32


def profile_many(
    devices: Sequence[Device],
    workloads: Sequence[Workload],
    *,
    journals: Sequence[Path] = (),
    settings: ScheduleSettings | None = None,
    on_event: Callable[[Device, Event], None] | None = None,
) -> Iterator[tuple[Target, Measurement]]:
    """Measure each workload once per target, on all devices at once.

    Devices of equal targets share the shapes; each other target gets the whole plan. A device that
    dies gives its unfinished shapes back to the others of its target.

    Args:
        journals: one per device, or none; what any device's holds is not measured again.
        on_event: called from the devices' threads, one call at a time.

    Raises:
        DeviceError: all devices of a target are gone; the journals keep what was measured.
    """
    if journals and len(journals) != len(devices):
        raise UsageError(f"{len(journals)} journals for {len(devices)} devices; expected one each")
    run = _Run(settings, on_event)
    plans = {device.target: _Plan(dict.fromkeys(workloads)) for device in devices}
    for number, device in enumerate(devices):
        plan = plans[device.target]
        journal = journals[number] if journals else None
        if journal is not None:
            with Journal(journal, device.target) as log:
                for workload, row in log.finished.items():
                    if plan.drop(workload):
                        yield device.target, row
        run.add(device, plan, journal)
    yield from run.rows(list(plans.items()))


class _Plan:
    """The shapes of one target that nobody has taken yet, and how many are out."""

    def __init__(self, workloads: dict[Workload, None]) -> None:
        self._left = deque(workloads)
        self._out = 0
        self._changed = threading.Condition()
        self.error: LatprofError | None = None

    def drop(self, workload: Workload) -> bool:
        if workload not in self._left:
            return False
        self._left.remove(workload)
        return True

    def take(self, stop: threading.Event) -> list[Workload]:
        """A share of what is left; waits while others may give shapes back; empty at the end."""
        with self._changed:
            while not self._left and self._out and not stop.is_set():
                self._changed.wait(0.2)
            if stop.is_set():
                return []
            share = [self._left.popleft() for _ in range(min(_SHARE, len(self._left)))]
            self._out += len(share)
            return share

    def give_back(self, unfinished: Sequence[Workload], taken: int) -> None:
        with self._changed:
            self._left.extend(unfinished)
            self._out -= taken
            self._changed.notify_all()

    @property
    def unfinished(self) -> int:
        with self._changed:
            return len(self._left) + self._out


class _Run:
    """One thread per device, and the queue that their rows come through."""

    def __init__(
        self,
        settings: ScheduleSettings | None,
        on_event: Callable[[Device, Event], None] | None,
    ) -> None:
        self._settings, self._on_event = settings, on_event
        self._rows: queue.Queue[tuple[Target, Measurement] | BaseException | None] = queue.Queue()
        self._threads: list[threading.Thread] = []
        self._stop, self._telling = threading.Event(), threading.Lock()

    def add(self, device: Device, plan: _Plan, journal: Path | None) -> None:
        work = threading.Thread(target=self._work, args=(device, plan, journal), daemon=True)
        self._threads.append(work)

    def rows(self, plans: Sequence[tuple[Target, _Plan]]) -> Iterator[tuple[Target, Measurement]]:
        for thread in self._threads:
            thread.start()
        running = len(self._threads)
        try:
            while running:
                row = self._rows.get()
                if isinstance(row, BaseException):
                    raise row
                if row is None:
                    running -= 1
                else:
                    yield row
        finally:
            self._stop.set()
            for thread in self._threads:
                thread.join()
        for target, plan in plans:
            if plan.unfinished:
                raise DeviceLostError(
                    f"{target}: every device is gone, {plan.unfinished} shapes are not measured; "
                    f"the last said: {plan.error}"
                ) from plan.error

    def _work(self, device: Device, plan: _Plan, journal: Path | None) -> None:
        try:
            while share := plan.take(self._stop):
                unfinished = dict.fromkeys(share)
                try:
                    for row in self._profile(device, share, journal):
                        del unfinished[row.workload]
                        self._rows.put((device.target, row))
                        if self._stop.is_set():
                            return
                finally:
                    plan.give_back(list(unfinished), len(share))
        except LatprofError as exc:  # this device is out; the others go on
            plan.error = exc
        except BaseException as exc:  # noqa: BLE001  a mistake of ours: raised where rows are read
            self._rows.put(exc)
        finally:
            self._rows.put(None)

    def _profile(
        self, device: Device, share: Sequence[Workload], journal: Path | None
    ) -> Iterator[Measurement]:
        return profile(
            device,
            share,
            journal=journal,
            settings=self._settings,
            on_event=lambda event: self._tell(device, event),
        )

    def _tell(self, device: Device, event: Event) -> None:
        if self._stop.is_set():
            raise _Stopped("stopped")
        if self._on_event is not None:
            with self._telling:
                self._on_event(device, event)


class _Stopped(LatprofError):
    """Unwinds a device's thread when the reader of the rows has gone."""
