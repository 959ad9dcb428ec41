"""What a model file takes beside time: memory, then energy. Part of the agent."""

from __future__ import annotations

from typing import Any

from latprof.devices.agent._energy import EnergyCounter, energy_per_call_j
from latprof.devices.agent._memory import HighWaterMark
from latprof.devices.agent.runtimes._base import Refused, Runtime

__all__ = ["usage_of"]

#: The first call allocates; arenas may grow in those after it.
_CALLS = 3


def usage_of(
    runtime: Runtime,
    file: str,
    counter: EnergyCounter,
    *,
    seconds: float,
    resolution_s: float,
    on_gpu: bool,
) -> dict[str, Any]:
    """Fields of the answer to ``usage``; the process must have loaded no model before.

    Args:
        file: path of the model.
        seconds: how long it runs for its energy.
        on_gpu: where its memory lies, then, the process's high-water mark does not tell.
    """
    runtime.least().call()  # the runtime's code, threads and first buffers are no model's
    found: dict[str, Any] = {"memory_bytes": None, "arena_bytes": None, "energy_j": None}
    missing: dict[str, str] = {}
    arena = None
    try:
        arena = runtime.watch_arena()
    except Refused as exc:
        missing["arena"] = str(exc)
    mark = HighWaterMark()
    prepared = runtime.model(file)
    for _ in range(_CALLS):
        prepared.call()
    if on_gpu:
        missing["memory"] = "what is kept is of the host's memory, not of the GPU's"
    elif (risen := mark.risen_bytes()) is not None:
        found["memory_bytes"] = risen
    else:
        missing["memory"] = mark.missing
    if arena is not None:
        found["arena_bytes"] = arena()
    if counter.missing:
        missing["energy"] = counter.missing
    else:
        found["energy_j"] = energy_per_call_j(
            counter, prepared, seconds=seconds, resolution_s=resolution_s
        )
    return {**found, "missing": missing}
