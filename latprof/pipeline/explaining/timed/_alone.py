"""Ops and small models timed alone on the device, in turns, in rounds of fresh processes."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from latprof.devices import Device, Job
from latprof.errors import DeviceError

__all__ = ["AloneTimes", "time_alone"]

_ROUNDS, _PASSES, _PASS_S = 6, 3, 0.02
_MAX_LOST = 2
#: Rounds in which one job must be faster than another to be called so.
_AGREEING = 5
#: Of all rounds, those that a figure is of.
_FASTEST = 2


@dataclass(frozen=True)
class AloneTimes:
    """Seconds of each job in each round, the faster of its passes.

    Args:
        rounds: by job; the runtime refused those that are missing.
    """

    rounds: Mapping[Job, tuple[float, ...]]

    def __contains__(self, job: Job) -> bool:
        return job in self.rounds

    def seconds(self, job: Job) -> float:
        """Of the fastest rounds, as the ops inside the model are of the fastest runs."""
        return float(np.mean(sorted(self.rounds[job])[:_FASTEST]))

    def saved_s(self, old: Job, new: Job, proportion: float = 1.0) -> float:
        """What ``new`` saves; 0 where the rounds do not agree that it takes less than
        ``proportion`` of ``old``."""
        faster = np.less(self.rounds[new], proportion * np.asarray(self.rounds[old]))
        agree = int(faster.sum()) >= _AGREEING
        return max(self.seconds(old) - self.seconds(new), 0.0) if agree else 0.0


def time_alone(
    device: Device,
    jobs: Sequence[Job],
    on_round: Callable[[float], None] | None = None,
    max_s: float = math.inf,
) -> AloneTimes:
    """Time each job a few times.

    Args:
        on_round: called after each round with the share that is over.
        max_s: no round begins later than this; where too few are over then, there are no times.

    Raises:
        DeviceError: the device is gone.
    """
    left = list(dict.fromkeys(jobs))
    taken: dict[Job, list[float]] = {job: [] for job in left}
    done = lost = 0
    end_s = time.monotonic() + max_s
    while left and done < _ROUNDS and time.monotonic() < end_s:
        order = [job for _ in range(_PASSES) for job in random.sample(left, len(left))]
        times: dict[Job, float] = {}
        refused: set[Job] = set()
        try:
            for job, reading in zip(order, device.round(order, measure_s=_PASS_S), strict=True):
                if reading.error:
                    refused.add(job)
                else:
                    times[job] = min(times.get(job, np.inf), reading.p20_s)
        except DeviceError:
            lost += 1
            if lost > _MAX_LOST:
                raise
            continue
        left = [job for job in left if job not in refused]
        for job in left:
            taken[job].append(times[job])
        done += 1
        if on_round is not None:
            on_round(done / _ROUNDS)
    enough = left if done >= _AGREEING else []
    return AloneTimes({job: tuple(taken[job]) for job in enough})
