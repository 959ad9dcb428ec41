"""One target's latency: what predicts it, and what is known of it by measurement."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import nn

if TYPE_CHECKING:
    from latprof.compress.graph import Graph
    from latprof.surrogate import Surrogate

__all__ = ["Latency", "named_latencies"]


@dataclass(frozen=True)
class Latency:
    """How a Compressor knows the latency of one target.

        Compressor(model, example_inputs, Latency(surrogate, measure=time_on_phone), "60%")

    Args:
        surrogate: latency of the target's ops, from ``latprof.fit``.
        original_s: the original network's measured latency, seconds; a share of a budget is a share
            of it. None: what the surrogate predicts.
        measure: seconds of a shrunk model on the target. It is called a few times when the masks
            are fixed, so that the budget is met by measurement, not by prediction. Of several
            training processes the first one measures.
        int8: what the deployed file has in int8, as ``Int8Export.choice`` says; its ops are then
            looked up as int8 ones. None for a float32 file.
        graph: of the same model at other inputs, from ``trace``: it is their latency that is
            meant. None: at the Compressor's example inputs.
    """

    surrogate: Surrogate
    original_s: float | None = None
    measure: Callable[[nn.Module], float] | None = None
    int8: str | None = None
    graph: Graph | None = None


def named_latencies(
    given: Surrogate | Latency | Mapping[str, Surrogate | Latency] | None,
) -> dict[str, Latency]:
    """By the name that budgets call each target; an only one is called ``latency``."""
    if given is None:
        return {}
    by_name = given if isinstance(given, Mapping) else {"latency": given}
    return {n: g if isinstance(g, Latency) else Latency(g) for n, g in by_name.items()}
