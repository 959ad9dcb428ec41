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
from pathlib import Path
from typing import Any

import numpy as np

from latprof.devices.agent.runtimes._base import Refused

__all__ = ["profile_session"]

#: Of the runs with the profiler, the part that is used: the fastest met the least load.
_USED = 0.25
#: Events that are written at most, at some microseconds each, and runs of either session.
_MAX_EVENTS, _MIN_RUNS, _MAX_RUNS = 20_000, 12, 400
#: Weights of so many bytes stay out of the graph that is handed back.
_OUTSIDE_BYTES = 1024
_SUFFIX = "_kernel_time"


def profile_session(
    source: str | bytes,
    options: Any,
    open_session: Callable[[str | bytes, Any], Any],
    seconds: float,
) -> dict[str, Any]:
    """``ops`` in the order in which they first run, ``whole_s`` of the model without the profiler,
    and ``graph``, the file that the runtime made of the model, without its weights.

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
        plain_s = _take_turns(plain.call, profiled.call, seconds, _count_nodes(graph))
        text = Path(profiled.session.end_profiling()).read_text(encoding="utf-8")
        return {
            "ops": _ops_of(json.loads(text)),
            "whole_s": float(np.percentile(plain_s, 100 * _USED / 2)),
            "graph": base64.b64encode(graph.read_bytes()).decode(),
        }


def _count_nodes(graph: Path) -> int:
    """About: a node takes some 200 bytes without its weights."""
    return max(1, graph.stat().st_size // 200)


def _take_turns(
    plain: Callable[[], object], profiled: Callable[[], object], seconds: float, nodes: int
) -> list[float]:
    """Seconds of each call of ``plain``."""
    clock = time.perf_counter
    most = min(_MAX_RUNS, max(_MIN_RUNS, _MAX_EVENTS // nodes))
    taken: list[float] = []
    plain(), profiled()  # the first calls allocate
    end_s = clock() + seconds
    while len(taken) < most and (len(taken) < _MIN_RUNS or clock() < end_s):
        plain()  # brings back what the profiler drove out of the caches
        start_s = clock()
        plain()
        taken.append(clock() - start_s)
        profiled()
    return taken


def _ops_of(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Mean over the fastest runs; what runs more than once in a run counts as often."""
    runs: list[dict[tuple[str, str, str], float]] = []
    current: dict[tuple[str, str, str], float] = {}
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith(_SUFFIX):
            given = event["args"]
            key = event["name"][: -len(_SUFFIX)], given["op_name"], given["provider"]
            current[key] = current.get(key, 0.0) + event["dur"] * 1e-6
        elif event["name"] == "model_run":
            runs.append(current)
            current = {}
    if not runs or not any(runs):
        raise Refused("ONNX Runtime's profile holds no op")
    runs.sort(key=lambda run: sum(run.values()))
    used = runs[: math.ceil(_USED * len(runs))]
    return [
        {
            "name": name,
            "op": op,
            "provider": provider,
            "seconds": float(np.mean([run.get((name, op, provider), 0.0) for run in used])),
        }
        for name, op, provider in used[0]
    ]
