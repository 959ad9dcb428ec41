"""What every device is: a place where jobs run in rounds, each round a fresh process."""

from __future__ import annotations

import math
import time
from abc import abstractmethod
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from latprof.devices._op_profile import OpProfile
from latprof.devices._sentinel_times import SentinelTimes
from latprof.devices._usage import Usage
from latprof.devices._waiting import WaitBudget
from latprof.errors import UsageError, WorkloadError
from latprof.vocabulary import Closing, Target
from latprof.workloads import Conv2d, Workload

__all__ = ["Array", "Device", "DeviceInfo", "Job", "Reading", "refused_sentinel"]

Array = npt.NDArray[Any]

_SUSTAINED = 300  # readings of a process

#: What a device can time: one op at one shape, or a whole model file.
Job = Workload | Path


@dataclass(frozen=True)
class Reading:
    """What one job gave in one round.

    Args:
        samples_s: seconds per call. A call too short for the clock is timed in loops, and a sample
            is then the loop's mean. Where more were taken than are kept, the kept ones are evenly
            spaced order statistics, so that percentiles read the same.
        core_share: the share of its core that the timing had, or was due with so many tasks
            running; well below 1 where it was preempted. 1.0 where the device cannot tell.
        cost_s: seconds the device spent warming up and timing, preparation aside.
        sentinel_s: what one call of the device's sentinel took right beside this reading, the
            slower of before and after; 0 while the device has not timed it yet.
        memory_s: the same of its sentinel of the memory; 0 where that was not timed.
        waited_s: seconds waited for an idle core before this reading.
        error: one line, where the runtime refused this job; there are no samples then.
    """

    samples_s: tuple[float, ...] = ()
    core_share: float = 1.0
    cost_s: float = 0.0
    sentinel_s: float = 0.0
    memory_s: float = 0.0
    waited_s: float = 0.0
    error: str = ""

    def __post_init__(self) -> None:
        if bool(self.samples_s) == bool(self.error):
            raise WorkloadError(
                f"reading with {len(self.samples_s)} samples and error {self.error!r}; "
                "expected samples or an error"
            )
        if not all(0 < s < math.inf for s in self.samples_s):
            raise WorkloadError(f"samples are {self.samples_s!r}; expected finite seconds > 0")

    @property
    def p20_s(self) -> float:
        return float(np.percentile(self.samples_s, 20))


class Device(Closing):
    """A place where jobs run. Laws, tested for every device:

    ``round`` gives exactly one reading per job, in the order of the jobs, each as soon as it is
    made; closing the generator early ends the round. Nothing but the named files is kept between
    rounds. Every reading says what the sentinel took beside it; where the sentinel alone is
    refused, WorkloadError is raised. A job the runtime refuses is a reading with an ``error``, and
    the jobs after it still run. A device that dies, hangs or answers with anything but the protocol
    raises DeviceLostError, DeviceTimeoutError or ProtocolError within its stated limit, and the
    next ``round`` may be tried. ``close`` may be called twice, restores what was set, and is called
    on exit of the ``with`` block.
    """

    #: What the sentinels take while the device is idle, as far as its profiles have seen.
    baseline: SentinelTimes = SentinelTimes()

    #: Why ``run`` gives no outputs here; "" where it does.
    no_outputs: str = ""

    @property
    @abstractmethod
    def target(self) -> Target:
        """What exactly is measured; the same through the device's whole life."""

    @abstractmethod
    def round(
        self, jobs: Sequence[Job], *, measure_s: float, budget: WaitBudget | None = None
    ) -> Generator[Reading]:
        """Run ``jobs`` in a fresh process, each timed for about ``measure_s`` seconds.

        Before each, an idle core may be waited for as long as ``budget`` allows; a device that
        waits says so in the reading. Without a budget nothing is waited for.
        """

    def sustain(self, path: Path, *, measure_s: float) -> Generator[Reading]:
        """Run a model file without a pause, each reading of about ``measure_s`` seconds, until the
        generator is closed; nothing is waited for, and heat discards nothing."""
        while True:
            yield from self.round([path] * _SUSTAINED, measure_s=measure_s)

    def clock_now_s(self) -> float:
        """Seconds of the clock by which time passes on this device, since some moment."""
        return time.monotonic()

    @abstractmethod
    def run(self, path: Path, inputs: Mapping[str, Array]) -> list[Array]:
        """One inference of a model file: outputs in the file's order, to check numerics."""

    def profile_ops(self, path: Path, *, measure_s: float) -> OpProfile:
        """What each op of a model file takes inside it, in a fresh process.

        Raises:
            UsageError: this kind of device cannot tell.
            WorkloadError: the runtime cannot tell, or refuses the file.
        """
        raise UsageError(
            f"{self.target.runtime} on {self.target.device} cannot say what each op of a file "
            "takes; expected ONNX Runtime, LiteRT or torch on a CPU, here or over ssh"
        )

    def usage(self, path: Path, *, measure_s: float) -> Usage:
        """What a model file takes in memory and in energy, in a fresh process.

        What cannot be told here is missing, with the reason.

        Args:
            measure_s: how long it runs for its energy, seconds.

        Raises:
            WorkloadError: the runtime refuses the file.
        """
        return Usage.unknown(f"{self.target.device} cannot tell")

    @abstractmethod
    def environment(self) -> dict[str, Any]:
        """JSON-ready provenance: knobs as read back, refusals, clocks, versions, load."""

    @abstractmethod
    def close(self) -> None:
        """Restore knobs and end processes."""

    @property
    def sentinel(self) -> Workload:
        """What is timed beside every reading, to notice throttling and background load."""
        return Conv2d(14, 14, 64, 64)


def refused_sentinel(why: str) -> WorkloadError:
    """The error for a device that will not run its sentinel."""
    return WorkloadError(f"the device refuses the sentinel, so no row can be trusted: {why}")


@dataclass(frozen=True)
class DeviceInfo:
    """One line of ``latprof devices``.

    Args:
        name: the spec to give to ``open_device``.
        description: what it is (``AMD EPYC, 2 cores``).
        usable: the runtimes that work on it now.
        missing: for each runtime that does not, or ``all``, the one thing missing.
    """

    name: str
    description: str
    usable: tuple[str, ...] = ()
    missing: tuple[tuple[str, str], ...] = ()
