"""Where a compressor stands, as every log and picture of it tells."""

from __future__ import annotations

from latprof.compress._compressor import Compressor

__all__ = ["standing"]


def standing(comp: Compressor) -> dict[str, float]:
    """Predicted latency and, where it has one, its budget in seconds, lambda, and units left."""
    counts = comp.counts()
    gone = comp.space.vanished(counts)
    budget = {} if comp.budget_s is None else {"budget_s": comp.budget_s}
    return {
        "latency_s": comp.latency_s(),
        **budget,
        "strength": float(comp.strength),
        "channels": sum(count for index, count in enumerate(counts) if index not in gone),
    }
