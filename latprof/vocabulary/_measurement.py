"""Measurements: raw samples of one workload, and the robust figures read off them."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from latprof.errors import TableError
from latprof.workloads import Workload, workload_from_dict

__all__ = ["STATUSES", "Measurement", "Timing"]

#: ok: the estimate converged. noisy: usable, but rounds differ by more than they should.
#: throttled: the device was slowed down (by heat or by other work) in all the time there was.
#: failed: no samples.
STATUSES = ("ok", "noisy", "throttled", "failed")

#: What earlier versions wrote -> what it is called today.
_OLD_STATUSES = {"disturbed": "throttled"}


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Raw samples of something that ran on a target: one workload, or a whole model file.

    Args:
        samples_s: seconds per call as they were taken, grouped by round; each round is a fresh
            process.
        slowdown: per round, how many times slower than at its best the device was: what the
            sentinel took beside the round over the least it takes; empty where that is not known.
        status: one of STATUSES; ``failed`` exactly where there are no samples.
        detail: one line saying why the status is not ``ok``; empty otherwise.
        measured_at: ISO 8601, UTC.
    """

    samples_s: tuple[tuple[float, ...], ...]
    slowdown: tuple[float, ...] = ()
    status: str = "ok"
    detail: str = ""
    measured_at: str = ""

    def __post_init__(self) -> None:
        for name in ("status", "detail", "measured_at"):
            if not isinstance(getattr(self, name), str):
                raise TableError(f"{name} is {getattr(self, name)!r:.60}; expected text")
        if self.status not in STATUSES:
            raise TableError(f"status is {self.status!r}; expected one of {', '.join(STATUSES)}")
        if (self.status == "failed") != (not self.samples_s):
            raise TableError(f"status {self.status!r} with {len(self.samples_s)} rounds of samples")
        for round_s in self.samples_s:
            if not round_s or not all(math.isfinite(s) and s > 0 for s in round_s):
                raise TableError("samples must be finite and > 0 seconds")
        if self.slowdown and len(self.slowdown) != len(self.samples_s):
            raise TableError(
                f"{len(self.slowdown)} slowdowns for {len(self.samples_s)} rounds of samples; "
                "expected one per round, or none"
            )
        if not all(math.isfinite(s) and s > 0 for s in self.slowdown):
            raise TableError(f"slowdown is {self.slowdown}; expected finite numbers > 0")

    @property
    def usable(self) -> bool:
        """True where a latency can be read: everything but ``failed`` and ``throttled``."""
        return self.status in ("ok", "noisy")

    @property
    def latency_s(self) -> float:
        """The estimate, corrected for the measured slowdown: the median over rounds of each round's
        20th percentile divided by its slowdown.

        The 20th percentile is what repeats between processes; the slowdown takes out the drift of
        the clock; the median over rounds drops a process that had an unlucky memory layout.
        """
        return statistics.median(self._rounds_s)

    @property
    def min_s(self) -> float:
        return min(min(r) for r in self.samples_s)

    @property
    def p20_s(self) -> float:
        return self._percentile(20)

    @property
    def median_s(self) -> float:
        return self._percentile(50)

    @property
    def p90_s(self) -> float:
        return self._percentile(90)

    @property
    def spread(self) -> float:
        """Relative half-range between rounds: (max - min) / (2 * latency) of their estimates."""
        per_round = self._rounds_s
        return (max(per_round) - min(per_round)) / (2 * self.latency_s)

    @property
    def _rounds_s(self) -> list[float]:
        slowdowns = self.slowdown or (1.0,) * len(self.samples_s)
        pairs = zip(self.samples_s, slowdowns, strict=True)
        return [_percentile_20(r) / slowdown for r, slowdown in pairs]

    def _percentile(self, q: float) -> float:
        return float(np.percentile(np.concatenate([np.asarray(r) for r in self.samples_s]), q))

    def to_dict(self) -> dict[str, Any]:
        return {
            "samples_s": [list(r) for r in self.samples_s],
            "slowdown": list(self.slowdown),
            "status": self.status,
            "detail": self.detail,
            "measured_at": self.measured_at,
        }

    @classmethod
    def _fields(cls, data: Mapping[str, Any]) -> dict[str, Any]:
        # Tables up to version 2 and older journals call it pace; the first tables have neither.
        slowdown = data.get("slowdown", data.get("pace", ()))
        return {
            "samples_s": tuple(tuple(float(s) for s in r) for r in data["samples_s"]),
            "slowdown": tuple(float(s) for s in slowdown),
            "status": _OLD_STATUSES.get(data["status"], data["status"]),
            "detail": data["detail"],
            "measured_at": data["measured_at"],
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Inverse of to_dict. Raises TableError where the dict is not one of ours."""
        try:
            return cls(**cls._fields(data))
        except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as exc:
            raise TableError(f"not a {cls.__name__.lower()}: {exc!r}") from exc


def _percentile_20(samples: Sequence[float]) -> float:
    """As numpy's, to the last bit; of a few samples twenty times as fast."""
    ordered = sorted(samples)
    place = 0.2 * (len(ordered) - 1)
    below = int(place)
    low, high = ordered[below], ordered[min(below + 1, len(ordered) - 1)]
    part = place - below
    return low + (high - low) * part if part < 0.5 else high - (high - low) * (1 - part)


@dataclass(frozen=True, kw_only=True)
class Measurement(Timing):
    """One workload's timing on one target."""

    workload: Workload

    def to_dict(self) -> dict[str, Any]:
        return {"workload": self.workload.to_dict(), **super().to_dict()}

    @classmethod
    def _fields(cls, data: Mapping[str, Any]) -> dict[str, Any]:
        return {"workload": workload_from_dict(data["workload"]), **super()._fields(data)}
