"""How long each op of a module takes inside it, by torch.profiler. Part of the agent."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from torch import nn
from torch.profiler import ProfilerActivity, profile, record_function

from latprof.devices.agent.runtimes._base import Refused
from latprof.devices.agent.runtimes._profile_turns import Run, quietest, take_turns

__all__ = ["profile_module"]

_WHOLE = "latprof_run"


def profile_module(
    module: nn.Module, plain: Callable[[], object], seconds: float, device: str
) -> dict[str, Any]:
    """``ops`` in the order in which they run, those of the module's graph by the names of its
    nodes; ``whole_s`` without the profiler, ``core_share`` that both had, and no ``graph``.

    Args:
        module: of an exported program; its graph says which op is which.
        plain: one run of it.
        seconds: of timing, about.
        device: what runs the ops.
    """
    graph = getattr(module, "graph", None)
    nodes = [
        (node.name, node.target._schema.name)
        for node in (graph.nodes if graph is not None else ())
        if hasattr(node.target, "_schema")
    ]
    runs: list[Run] = []

    def profiled() -> None:
        with profile(activities=[ProfilerActivity.CPU]) as found, record_function(_WHOLE):
            plain()
        runs.append(_run_of(found.events() or (), nodes, device))

    pairs = take_turns(plain, profiled, seconds, max(1, len(nodes)))
    return {**quietest(runs, pairs, "torch"), "graph": ""}


def _run_of(events: Iterable[Any], nodes: list[tuple[str, str]], device: str) -> Run:
    """Seconds of each op that the module itself calls; ops inside of those are theirs."""
    whole = [event for event in events if event.name == _WHOLE]
    if len(whole) != 1:
        raise Refused("torch's profile does not hold the run")
    run: Run = {}
    left = list(nodes)
    for number, event in enumerate(whole[0].cpu_children):
        place = next((i for i, (_, op) in enumerate(left) if op == event.name), None)
        name = f"{event.name}:{number}"
        if place is not None:
            name, _ = left[place]
            del left[: place + 1]
        run[name, event.name, device] = event.cpu_time_total * 1e-6
    return run
