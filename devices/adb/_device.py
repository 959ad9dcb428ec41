"""A phone over adb, timed by benchmark_model: one process per job, many jobs per command.

A round costs one push for the models the phone does not hold yet and one shell command per window
of jobs. Each window ends with the phone's thermal state; a throttled one is thrown away and run
again once the phone has cooled.
"""

from __future__ import annotations

import dataclasses
import itertools
import logging
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from latprof.devices._device import Array, Device, Job, Reading, refused_sentinel
from latprof.devices._op_profile import OpProfile
from latprof.devices._op_table import read_op_table
from latprof.devices._usage import Usage
from latprof.devices._waiting import WaitBudget
from latprof.devices.adb._bench import FOLDER, Bench
from latprof.devices.adb._benchmark_model import check_run, command_line, parse_memory, parse_run
from latprof.devices.adb._jobs import Jobs, existing
from latprof.devices.adb._knobs import Knobs, clean_up
from latprof.devices.adb._numerics import io_flags, read_layout, split_outputs
from latprof.devices.adb._settings import PhoneSettings
from latprof.devices.adb._state import State, read_facts, read_state
from latprof.devices.adb._thermal import Thermals
from latprof.devices.adb._tool import find_tool
from latprof.devices.adb._transport import Transport, quote
from latprof.errors import (
    DeviceError,
    DeviceLostError,
    DeviceTimeoutError,
    UnknownDeviceError,
    UsageError,
    WorkloadError,
)
from latprof.vocabulary import Target

__all__ = ["AdbDevice"]

_log = logging.getLogger("latprof")

_WINDOW = 10  # jobs per shell command; each begins and ends with the sentinel
_ATTEMPTS = 5  # at one window, the phone throttling in each
_LOW_BATTERY = 20
_NO_OUTPUTS = (
    "LiteRT's benchmark_model saves no outputs; to compare them with the reference, give TFLite's "
    "with --benchmark-model PATH"
)
#: What phones do not tell of a model.
_NO_USAGE = {
    "arena": "benchmark_model does not tell",
    "energy": "Android's counters (batterystats, power_stats) are of the whole phone, not of a "
    "process, and need minutes",
}
_NO_MEMORY = {"memory": "this benchmark_model prints no memory footprint; TFLite's since 2020 does"}
_NO_OPS = (
    "LiteRT's benchmark_model does not print what ops take; to see it, give TFLite's with "
    "--benchmark-model PATH"
)


class AdbDevice(Device):
    """One cluster of one phone.

    Args:
        connect: opens the transport; called again when the phone was lost.
        settings: how it is measured.

    Raises:
        UsageError: no such cluster or delegate; no benchmark_model, or one for another ABI.
        DeviceError: the phone does not answer, does not authorize, or its tool does not run.
    """

    def __init__(self, connect: Callable[[], Transport], settings: PhoneSettings) -> None:
        self._settings = settings
        self._npu = settings.npu
        self._connect, self._threads = connect, settings.threads
        self._lost, self._return_s = 0, settings.return_s
        self._touched = False  # whether the phone holds our folder and our knobs
        self._transport: Transport | None = connect()
        try:
            self._facts = read_facts(self._transport)
            self._cluster = self._facts.cluster(settings.cluster)
            name = f"{self._facts.model}/{self._cluster.name}"
            if settings.threads > len(self._cluster.cpus):
                raise UsageError(
                    f"threads is {settings.threads}; {name} has {len(self._cluster.cpus)} cores"
                )
            self._tool = find_tool(
                self._facts.abi, settings.benchmark_model, settings.benchmark_model_sha256
            )
            self._jobs = Jobs(
                settings.delegate, settings.precision, litert=self._tool.litert, npu=self._npu
            )
            self.no_outputs = _NO_OUTPUTS if self._tool.litert else ""
            self._thermals = Thermals(
                name, self._cluster, pause_s=settings.pause_s, poll_s=settings.poll_s
            )
            self._before = read_state(self._transport)
            self._set_up()
            percentiles = self._jobs.probe(self._thermals)
        except BaseException:
            self.close()
            raise
        _warn_of_battery(self._before)
        self._target = Target(
            device=name,
            runtime="tflite",
            runtime_version=self._tool.version,
            threads=settings.threads,
            precision=settings.precision,
            delegate=settings.delegate,
            settings=tuple(sorted({
                "fixed_performance": self._knobs.read_back().get("fixed_performance", "off"),
                "statistics": "p5 median p95" if percentiles else "min mean max",
                **self._npu,
            }.items())),
        )  # fmt: skip

    @property
    def target(self) -> Target:
        return self._target

    def round(
        self, jobs: Sequence[Job], *, measure_s: float, budget: WaitBudget | None = None
    ) -> Generator[Reading]:
        with self._dropping():
            self._reconnect()
            refused = self._jobs.hold([self.sentinel, *jobs])
        for start in range(0, len(jobs), _WINDOW):
            yield from self._window(jobs[start : start + _WINDOW], refused, measure_s)

    def run(self, path: Path, inputs: Mapping[str, Array]) -> list[Array]:
        if self.no_outputs:
            raise UsageError(self.no_outputs)
        layout = read_layout(existing(path))
        values = layout.ordered(inputs)
        keys = [f"i{i}" for i in range(len(values))]  # the tool takes any names, in order
        with self._dropping():
            self._reconnect()
            files = [("model", path.read_bytes()), *zip(keys, values, strict=True)]
            names = self._bench.hold(files)
            self._once(names["model"], io_flags(layout, keys, names))
            return split_outputs(layout, self._live.pull(f"{FOLDER}/outputs"))

    def profile_ops(self, path: Path, *, measure_s: float) -> OpProfile:
        if self._tool.litert:
            raise UsageError(_NO_OPS)
        with self._dropping():
            self._reconnect()
            name = self._bench.hold([("model", existing(path).read_bytes())])["model"]
            # The tool's mean holds both, so that what the profiler adds is known.
            whole = parse_run(self._once(name, measure_s=measure_s), 0)
            text = self._once(name, ["--enable_op_profiling=true"], measure_s)
        ops = read_op_table(text, self._jobs.delegate)
        return OpProfile(ops, whole.mean_us * 1e-6, b"")

    def _once(self, name: str, flags: Sequence[str] = (), measure_s: float = 0.0) -> str:
        """What the tool prints in one process with one of the phone's files."""
        command = command_line(
            name, threads=self._threads, measure_s=measure_s, warmup_s=measure_s / 2,
            limit_s=self._settings.limit_s, flags=[*self._jobs.flags, *flags],
        )  # fmt: skip
        answer = self._live.run(
            f"cd {quote(FOLDER)} && rm -f outputs && taskset {self._cluster.mask} {command}",
            silence_s=self._settings.limit_s,
        )
        check_run(answer.output, answer.code, delegate=self._jobs.delegate)
        return str(answer.output)

    def sustain(self, path: Path, *, measure_s: float) -> Generator[Reading]:
        with self._dropping():
            self._reconnect()
            while True:  # throttled or not, that is what is asked
                yield self._jobs.reading(path, measure_s, self._thermals)

    def usage(self, path: Path, *, measure_s: float) -> Usage:
        with self._dropping():
            self._reconnect()
            output = self._jobs.output(path, 0.0, self._thermals)  # no energy, so it runs briefly
        memory_bytes = parse_memory(output.text)
        missing = _NO_USAGE if memory_bytes is not None else _NO_USAGE | _NO_MEMORY
        return Usage(memory_bytes, missing=missing)

    def environment(self) -> dict[str, Any]:
        """Provenance; the phone's present state is missing where it is not reachable."""
        found: dict[str, Any] = {
            "phone": self._facts.to_dict(),
            "cluster": self._cluster.name,
            "affinity": list(self._cluster.cpus),
            "benchmark_model": {"source": self._tool.source, "sha256": self._tool.sha256},
            "call_overhead_s": self._jobs.overhead_s,
            "knobs": self._knobs.read_back(),
            "state_at_start": self._before.to_dict(),
            "device_s": round(self._jobs.spent_s, 3),
            "pushes": self._jobs.pushes,
            "times_lost": self._lost,
            "thermal_pauses": self._thermals.pauses,
        }
        if self._transport:
            try:
                found["state"] = read_state(self._transport).to_dict()
            except DeviceError as exc:  # what was measured is worth keeping without it
                found["state_unreadable"] = str(exc)
        return found

    def close(self) -> None:
        """Puts the knobs back; a phone that was lost is connected once more for it."""
        transport, self._transport = self._transport, None
        touched, self._touched = self._touched, False
        try:
            if touched and not self._jobs.taken:
                transport = transport or self._connect()
                clean_up(transport, FOLDER)
        except DeviceError as exc:
            _log.warning("knobs are put back when the phone is next connected: %s", exc)
        finally:
            if transport:
                transport.close()

    # -- connection ------------------------------------------------------------------------------

    @property
    def _live(self) -> Transport:
        if self._transport is None:
            raise DeviceLostError("the phone is closed; open the device again")
        return self._transport

    @contextmanager
    def _dropping(self) -> Iterator[None]:
        """Inside, a failure of the phone drops the connection, so that the next round makes one."""
        try:
            yield
        except WorkloadError:
            raise
        except DeviceError:
            self._drop()
            raise

    def _drop(self) -> None:
        self._lost += 1
        if self._transport:
            self._transport.close()
        self._transport = None

    def _set_up(self) -> None:
        """The work folder, the tool and the knobs, whatever an earlier run left behind."""
        transport = self._live
        self._touched = True
        clean_up(transport, FOLDER)
        self._bench = Bench(
            transport, self._tool, self._cluster.mask, self._threads, self._settings.limit_s,
            self._npu.get("dispatch_library_path", ""),
        )  # fmt: skip
        self._jobs.bench = self._bench
        self._knobs = Knobs(
            transport,
            FOLDER,
            fixed_performance=self._settings.fixed_performance,
            stay_awake=self._settings.stay_awake,
        )
        self._thermals.start(transport)

    def _reconnect(self) -> None:
        if self._transport:
            return
        if self._jobs.taken:
            raise DeviceError(f"{self._target.device}: another run has taken the phone")
        self._transport = self._await_return()
        facts = read_facts(self._transport)
        if facts.serial != self._facts.serial:
            raise DeviceError(
                f"{self._transport.serial} now is {facts.model} {facts.serial}; it was "
                f"{self._facts.model} {self._facts.serial}: connect that phone again"
            )
        if facts.boot_id != self._facts.boot_id:
            _log.warning("%s has rebooted; going on", self._transport.serial)
            self._facts = facts
        self._set_up()

    def _await_return(self) -> Transport:
        """Connect once the phone is back; what is not back in time is not waited for again."""
        deadline = time.monotonic() + self._return_s
        while True:
            try:
                return self._connect()
            except (DeviceLostError, DeviceTimeoutError, UnknownDeviceError):
                left_s = deadline - time.monotonic()
                if left_s <= 0:
                    self._return_s = 0.0
                    raise
                _log.warning(
                    "%s is gone: waiting for it, at most %.0f s more", self._target.device, left_s
                )
                time.sleep(min(self._settings.poll_s, left_s))

    # -- jobs ------------------------------------------------------------------------------------

    def _window(
        self, jobs: Sequence[Job], refused: Mapping[Job, str], measure_s: float
    ) -> Iterator[Reading]:
        """One shell command: the sentinel, the jobs, and the sentinel again."""
        order = [self.sentinel, *jobs, self.sentinel]
        for _ in range(_ATTEMPTS):
            readings = {
                i: Reading(error=refused[job]) for i, job in enumerate(order) if job in refused
            }
            try:
                with self._dropping():
                    throttled = self._jobs.measure(order, readings, measure_s, self._thermals)
                    if throttled:
                        _log.warning("%s: %d readings are taken again", throttled, len(jobs))
                        self._thermals.cool(self._live)
            except DeviceError:
                # What was done stands; the job that ran counts as the one that crashed.
                yield from _beside_sentinels(readings, len(jobs))
                raise
            if not throttled:
                yield from _beside_sentinels(readings, len(jobs))
                return
        raise DeviceError(
            f"{self._target.device} throttles again whenever it has cooled; fewer threads or a "
            "slower cluster keep it cooler: nothing measured is lost"
        )


def _warn_of_battery(state: State) -> None:
    level = state.battery_percent
    if level is not None and level < _LOW_BATTERY:
        _log.warning("battery at %d%%: phones slow down when it is low; charge it", level)
    if state.battery_saver:
        _log.warning("battery saver is on and caps the clocks; switch it off")


def _beside_sentinels(readings: Mapping[int, Reading], count: int) -> Iterator[Reading]:
    """The readings 1 to ``count``, as far as there are any; 0 and the one after are the sentinel's.

    Raises:
        WorkloadError: the phone refuses the sentinel, and takes others.
    """
    probes = [readings[i] for i in (0, count + 1) if i in readings]
    for i in itertools.takewhile(readings.__contains__, range(1, count + 1)):
        if readings[i].error:
            yield readings[i]
            continue
        if errors := [probe.error for probe in probes if probe.error]:
            raise refused_sentinel(errors[0])
        yield dataclasses.replace(readings[i], sentinel_s=max(p.p20_s for p in probes))
