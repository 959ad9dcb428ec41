"""How a run's figures are told: one row per network, in the terminal and on the page alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from latprof._units import format_count, format_s

__all__ = ["COLUMNS", "NAMES", "figure_row", "progress_text"]

COLUMNS = ("network", "accuracy", "measured", "predicted", "parameters", "MACs")

#: What people call the networks of a result, in the order they are shown.
NAMES = {"original": "original", "uniform": "uniformly thinned", "compressed": "latprof"}


def figure_row(name: str, figures: Mapping[str, Any]) -> list[str]:
    """One network's figures as text, under COLUMNS."""
    return [
        name,
        f"{figures['accuracy']:.2%}",
        format_s(figures["latency_s"]),
        format_s(figures["predicted_s"]),
        format_count(figures["params"]),
        format_count(figures["macs"]),
    ]


def progress_text(row: Mapping[str, Any]) -> str:
    """Where a run stands, for its progress line."""
    latency, budget = format_s(row["latency_s"]), format_s(row["budget_s"])
    phase = row["phase"].replace("_", "-")
    return (
        f"{phase}: loss {row['loss']:.3f}, accuracy {row['accuracy']:.1%}, "
        f"predicted {latency}, budget {budget}, {row['channels']} channels"
    )
