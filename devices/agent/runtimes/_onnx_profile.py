"""How long each op of a model takes inside it, by ONNX Runtime's own profiler. Part of the agent.

Two sessions take turns: one with the profiler and one without it. What the profiler itself costs
is then known, and background load meets both alike.
"""

from __future__ import annotations

import base64
import json
import math
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from latprof.devices.agent.runtimes._base import Refused

__all__ = ["profile_session"]

#: Of the pairs of runs, without the profiler and with it, the part that is used: the fastest met
#: the least load.
_USED = 0.25
#: A run with so much of its core was not preempted; so many pairs of such runs suffice.
_ALONE, _MIN_USED = 0.98, 5
#: Events that are written at most, at some microseconds each, and runs of either session.
_MAX_EVENTS, _MIN_RUNS, _MAX_RUNS = 20_000, 12, 400
#: Weights of so many bytes stay out of the graph that is handed back.
_OUTSIDE_BYTES = 1024
_SUFFIX = "_kernel_time"


@dataclass(frozen=True)
class _Pair:
    """A run without the profiler, and what of its core it and the one with it had at least."""

    plain_s: float
    core_share: float


#: {(name, op, provider): seconds}.
_Run = dict[tuple[str, str, str], float]


def profile_session(
    source: str | bytes,
    options: Any,
    open_session: Callable[[str | bytes, Any], Any],
    seconds: float,
) -> dict[str, Any]:
    """``ops`` in the order in which they first run; ``whole_s`` of the model without the profiler;
    ``core_share`` that both had; and ``graph``, what the runtime made of the file, without weights.

    Args:
        options: of the session that is profiled; it is changed.
        open_session: (source, options) to what has ``call``, and the session as ``session``.
        seconds: of timing, about.
    """
    with tempfile.TemporaryDirectory(prefix="latprof-") as folder:
        plain = open_session(source, options)
        graph = Path(folder) / "graph.onnx"
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder) / "profile")
        options.optimized_model_filepath = str(graph)
        outside = "session.optimized_model_external_initializers_"
        options.add_session_config_entry(f"{outside}file_name", "weights.bin")
        options.add_session_config_entry(f"{outside}min_size_in_bytes", str(_OUTSIDE_BYTES))
        profiled = open_session(source, options)
        pairs = _take_turns(plain.call, profiled.call, seconds, _count_nodes(graph))
        text = Path(profiled.session.end_profiling()).read_text(encoding="utf-8")
        return {
            **_quietest(_runs_of(json.loads(text)), pairs),
            "graph": base64.b64encode(graph.read_bytes()).decode(),
        }


def _count_nodes(graph: Path) -> int:
    """About: a node takes some 200 bytes without its weights."""
    return max(1, graph.stat().st_size // 200)


def _take_turns(
    plain: Callable[[], object], profiled: Callable[[], object], seconds: float, nodes: int
) -> list[_Pair]:
    """One pair for each turn."""
    clock = time.perf_counter
    most = min(_MAX_RUNS, max(_MIN_RUNS, _MAX_EVENTS // nodes))
    taken: list[_Pair] = []
    plain(), profiled()  # the first calls allocate
    end_s = clock() + seconds
    while len(taken) < most and (len(taken) < _MIN_RUNS or clock() < end_s):
        plain()  # brings back what the profiler drove out of the caches
        plain_s, plain_share = _timed(plain)
        _, profiled_share = _timed(profiled)
        taken.append(_Pair(plain_s, min(plain_share, profiled_share)))
    return taken


def _timed(call: Callable[[], object]) -> tuple[float, float]:
    """(seconds, the share of them that this thread had its core)."""
    start, cpu_start = time.perf_counter(), time.thread_time()
    call()
    cpu_s, took_s = time.thread_time() - cpu_start, time.perf_counter() - start
    return took_s, min(cpu_s / took_s, 1.0)


def _runs_of(events: list[dict[str, Any]]) -> list[_Run]:
    """Seconds of each op in each run; what runs more than once in a run counts as often."""
    runs: list[_Run] = []
    current: _Run = {}
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith(_SUFFIX):
            given = event["args"]
            key = event["name"][: -len(_SUFFIX)], given["op_name"], given["provider"]
            current[key] = current.get(key, 0.0) + event["dur"] * 1e-6
        elif event["name"] == "model_run":
            runs.append(current)
            current = {}
    return runs


def _quietest(runs: list[_Run], pairs: list[_Pair]) -> dict[str, Any]:
    """Means over the same moments, those with the least load."""
    runs = runs[-len(pairs) :]  # the first ones warmed up
    if len(runs) < len(pairs) or not any(runs):
        raise Refused("ONNX Runtime's profile does not hold the ops of every run")
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
