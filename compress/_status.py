"""How far a Compressor has come, as logs and plots show it."""

from __future__ import annotations

from latprof.compress._compressor import Compressor

__all__ = ["status"]


def status(comp: Compressor) -> dict[str, float]:
    """The figures of a run that a log or a plot shows.

    Returns:
        ``latency_s`` and, where it has one, ``budget_s``: predicted on the first target, seconds;
        without a target ``cost`` and ``budget_cost``, in ``comp.cost_unit``. ``penalty_weight``,
        which is lambda; ``channels``, units left outside of dropped blocks.
    """
    counts = comp.counts()
    gone = comp.space.vanished(counts)
    cost, limit = ("latency_s", "budget_s") if comp.cost_unit == "s" else ("cost", "budget_cost")
    budget = {} if comp.budget_cost is None else {limit: comp.budget_cost}
    return {
        cost: comp.cost(),
        **budget,
        "penalty_weight": comp.selection.penalty_weight(),
        "channels": sum(count for index, count in enumerate(counts) if index not in gone),
    }
