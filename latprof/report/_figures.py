"""How a run's figures are told: one row per network, in the terminal and on the page alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from latprof.vocabulary import format_count, format_figure, format_s

__all__ = ["COLUMNS", "NAMES", "figure_row", "progress_text", "verdict", "weather"]

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


def verdict(budget: Mapping[str, Any]) -> tuple[str, str]:
    """(``met`` or ``missed``, the rest of the sentence) of one of a result's budgets."""
    limit, reached = budget["limit"], budget["reached"]
    return (
        "met" if reached <= limit else "missed",
        f"{budget['text']} is {format_figure(budget['kind'], limit)}, reached "
        f"{format_figure(budget['kind'], reached)} ({reached / limit:.1%} of it)",
    )


def weather(result: Mapping[str, Any]) -> str:
    """What disturbed the timing of a result's networks, in a sentence; empty where nothing did."""
    detail = result["detail"]
    if not detail:
        return ""
    return (
        f"the device was not at its best while these were timed, all side by side ({detail}): "
        "compare measured with measured, and shares rather than times"
    )


def progress_text(row: Mapping[str, Any]) -> str:
    """Where a run stands, for its progress line."""
    budget = f", budget {format_s(row['budget_s'])}" if "budget_s" in row else ""
    return (
        f"{row['phase'].replace('_', '-')}: loss {row['loss']:.3f}, "
        f"accuracy {row['accuracy']:.1%}, predicted {format_s(row['latency_s'])}{budget}, "
        f"{row['channels']} channels"
    )
