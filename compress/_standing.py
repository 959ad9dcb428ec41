"""Where a compressor stands, as every log and picture of it tells."""

from __future__ import annotations

from latprof.compress._compressor import Compressor

__all__ = ["standing"]


def standing(comp: Compressor) -> dict[str, float]:
    """Predicted latency and budget in seconds, lambda, and channels left."""
    return {
        "latency_s": comp.latency_s(),
        "budget_s": comp.budget_s,
        "strength": float(comp.strength),
        "channels": sum(comp.counts()),
    }
