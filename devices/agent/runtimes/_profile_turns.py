"""Runs with a profiler and runs without it in turns, and the quietest of them. Part of the agent.

What the profiler itself costs is then known, and background load meets both alike.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from latprof.devices.agent.runtimes._base import Refused

__all__ = ["Pair", "Run", "quietest", "take_turns"]

#: Of the pairs of runs, without the profiler and with it, the part that is used: the fastest met
#: the least load.
_USED = 0.25
#: A run with so much of its core was not preempted; so many pairs of such runs suffice.
_ALONE, _MIN_USED = 0.98, 5
#: Events that are written at most, at some microseconds each, and runs of either kind.
_MAX_EVENTS, _MIN_RUNS, _MAX_RUNS = 20_000, 12, 400

#: {(name, op, provider): seconds}.
Run = dict[tuple[str, str, str], float]


@dataclass(frozen=True)
class Pair:
    """A run without the profiler, and what of its core it and the one with it had at least."""

    plain_s: float
    core_share: float


def take_turns(
    plain: Callable[[], object], profiled: Callable[[], object], seconds: float, nodes: int
) -> list[Pair]:
    """One pair for each turn.

    Args:
        nodes: of the model, about; each is an event of a run with the profiler.
    """
    clock = time.perf_counter
    most = min(_MAX_RUNS, max(_MIN_RUNS, _MAX_EVENTS // nodes))
    taken: list[Pair] = []
    plain(), profiled()  # the first calls allocate
    end_s = clock() + seconds
    while len(taken) < most and (len(taken) < _MIN_RUNS or clock() < end_s):
        plain()  # brings back what the profiler drove out of the caches
        plain_s, plain_share = _timed(plain)
        _, profiled_share = _timed(profiled)
        taken.append(Pair(plain_s, min(plain_share, profiled_share)))
    return taken


def _timed(call: Callable[[], object]) -> tuple[float, float]:
    """(seconds, the share of them that this thread had its core)."""
    start, cpu_start = time.perf_counter(), time.thread_time()
    call()
    cpu_s, took_s = time.thread_time() - cpu_start, time.perf_counter() - start
    return took_s, min(cpu_s / took_s, 1.0)


def quietest(runs: list[Run], pairs: list[Pair], runtime: str) -> dict[str, Any]:
    """``ops``, ``whole_s`` and ``core_share``: means over the same moments, those with the least
    load.

    Raises:
        Refused: ``runs`` are fewer than ``pairs``, or empty.
    """
    runs = runs[-len(pairs) :]  # the first ones warmed up
    if len(runs) < len(pairs) or not any(runs):
        raise Refused(f"{runtime}'s profile does not hold the ops of every run")
    both = list(zip(pairs, runs, strict=True))
    alone = [one for one in both if one[0].core_share >= _ALONE]
    count = math.ceil(_USED * len(both))
    # Of those that were preempted, the least.
    chosen = alone if len(alone) >= _MIN_USED else sorted(both, key=lambda one: -one[0].core_share)
    chosen = chosen if chosen is alone else chosen[:count]
    chosen.sort(key=lambda one: one[0].plain_s + sum(one[1].values()))
    used = chosen[:count]
    ops = [
        {
            "name": name,
            "op": op,
            "provider": provider,
            "seconds": float(np.mean([run.get((name, op, provider), 0.0) for _, run in used])),
        }
        for name, op, provider in used[0][1]
    ]
    return {
        "ops": ops,
        "whole_s": float(np.mean([pair.plain_s for pair, _ in used])),
        "core_share": float(np.mean([pair.core_share for pair, _ in used])),
    }
