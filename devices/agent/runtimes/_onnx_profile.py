"""What each op of a model takes inside it, by ONNX Runtime's own profiler. Part of the agent."""

from __future__ import annotations

import base64
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from latprof.devices.agent.runtimes._profile_turns import Run, quietest, take_turns

__all__ = ["profile_session"]

#: Weights of so many bytes stay out of the graph that is handed back.
_OUTSIDE_BYTES = 1024
_SUFFIX = "_kernel_time"


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
        pairs = take_turns(plain.call, profiled.call, seconds, _count_nodes(graph))
        text = Path(profiled.session.end_profiling()).read_text(encoding="utf-8")
        return {
            **quietest(_runs_of(json.loads(text)), pairs, "ONNX Runtime"),
            "graph": base64.b64encode(graph.read_bytes()).decode(),
        }


def _count_nodes(graph: Path) -> int:
    """About: a node takes some 200 bytes without its weights."""
    return max(1, graph.stat().st_size // 200)


def _runs_of(events: list[dict[str, Any]]) -> list[Run]:
    """Seconds of each op in each run; what runs more than once in a run counts as often."""
    runs: list[Run] = []
    current: Run = {}
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith(_SUFFIX):
            given = event["args"]
            key = event["name"][: -len(_SUFFIX)], given["op_name"], given["provider"]
            current[key] = current.get(key, 0.0) + event["dur"] * 1e-6
        elif event["name"] == "model_run":
            runs.append(current)
            current = {}
    return runs
