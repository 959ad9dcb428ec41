"""A run's figures as text: one row per network, in the terminal and on the page alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from latprof.vocabulary import (
    BudgetOutcome,
    NetworkResult,
    RunResult,
    format_count,
    format_figure,
    format_j,
    format_s,
    lost_classes,
)

__all__ = [
    "CLASS_COLUMNS",
    "NAMES",
    "class_rows",
    "columns",
    "conditions",
    "figure_row",
    "lost_classes_text",
    "metric_text",
    "progress_text",
    "verdict",
]

#: What a network takes beside time: as people call it, where a NetworkResult has it, its text.
_USAGE: tuple[tuple[str, str, Callable[..., str]], ...] = (
    ("memory", "memory_bytes", partial(format_figure, "memory")),
    ("energy", "energy_j", format_j),
)
#: What people call the networks of a result, in the order they are shown.
NAMES = {"original": "original", "uniform": "uniformly thinned", "compressed": "latprof"}


CLASS_COLUMNS = ("class", "rows", "before", "after", "points")
#: Classes that are shown.
_CLASSES = 5


def columns(result: RunResult) -> tuple[str, ...]:
    """What stands above the figures of a result's networks."""
    return (
        "network", result.metric, "measured", "speed-up", "predicted", "parameters", "MACs",
        *(title for title, _, _ in _USAGE if _tells(result)),
    )  # fmt: skip


def metric_text(metric: str, value: float) -> str:
    """A figure of the task: an accuracy in percent, others with four digits."""
    return f"{value:.2%}" if metric == "accuracy" else f"{value:.4g}"


def figure_row(network: NetworkResult, result: RunResult) -> list[str]:
    """One network's figures as text, under ``columns``."""
    speed_up = result.original.latency_s / network.latency_s
    return [
        NAMES.get(network.name, network.name),
        metric_text(result.metric, network.accuracy),
        f"{format_s(network.latency_s)} ({1 / speed_up:.1%})",
        f"{speed_up:.2f}x",
        format_s(network.predicted_s),
        format_count(network.params),
        format_count(network.macs),
        *(_usage_text(network, result, *use) for use in _USAGE if _tells(result)),
    ]


def _tells(result: RunResult) -> bool:
    """Results of older versions tell neither memory nor energy."""
    measured = any(n.memory_bytes is not None or n.energy_j is not None for n in result.networks)
    return measured or bool(result.missing)


def _usage_text(
    network: NetworkResult, result: RunResult, title: str, attribute: str, form: Callable[..., str]
) -> str:
    value = getattr(network, attribute)
    if value is not None:
        return form(value)
    return "not available" if title in result.missing else "not measured"


def verdict(outcome: BudgetOutcome) -> tuple[str, str]:
    """(``met`` or ``missed``, the rest of the sentence) of one of a result's budgets."""
    return (
        "met" if outcome.met else "missed",
        f"{outcome.text} is {format_figure(outcome.kind, outcome.limit)}, reached "
        f"{format_figure(outcome.kind, outcome.reached)} "
        f"({_share(outcome.reached / outcome.limit)} of it)",
    )


def advice_lines(result: RunResult) -> list[str]:
    """What slows the compressed file most, a sentence each."""
    lines = []
    for one in result.advice:
        kept = "" if one.keeps_outputs else " (its outputs change)"
        if one.saves_s is None:
            lines.append(f"{one.words}: {format_s(one.takes_s)}; {one.advice}{kept}.")
        else:
            saves = f"predicted to save {format_s(one.saves_s)} of {format_s(one.takes_s)}"
            lines.append(f"{one.words}; {one.advice}{kept}: {saves}.")
    return lines


def _share(ratio: float) -> str:
    """In percent, with the digits that tell it from the whole."""
    return f"{ratio:.1%}" if abs(ratio - 1) >= 0.0005 or ratio == 1 else f"{ratio:.4%}"


def conditions(result: RunResult) -> str:
    """Background load while a result's networks were timed, in a sentence; empty without any."""
    if not result.detail:
        return ""
    return (
        "there was background load while these networks were measured, all side by side "
        f"({result.detail}): compare measured with measured, and shares rather than times"
    )


def lost_classes_text(result: RunResult) -> str:
    """A warning of the classes that lose far more than the mean; empty without any."""
    found = [f"{c.label} ({c.before:.1%} to {c.after:.1%})" for c in lost_classes(result.classes)]
    if not found:
        return ""
    named = ", ".join(found[:_CLASSES]) + (" and others" if len(found) > _CLASSES else "")
    if result.compressed.accuracy >= result.original.accuracy:
        return f"these classes lose, though all together lose nothing: {named}"
    return f"these classes lose more than five times what all lose on average: {named}"


def class_rows(result: RunResult) -> list[list[str]]:
    """The five classes that lose most, under ``CLASS_COLUMNS``."""
    worst = sorted(result.classes, key=lambda c: -c.lost)[:_CLASSES]
    return [
        [str(c.label), str(c.rows), f"{c.before:.1%}", f"{c.after:.1%}", f"{-100 * c.lost:+.1f}"]
        for c in worst
    ]


def progress_text(row: Mapping[str, Any]) -> str:
    """What a run has reached, for its progress line."""
    budget = f", budget {format_s(row['budget_s'])}" if "budget_s" in row else ""
    metric = row.get("metric", "accuracy")
    figure = f"{row['accuracy']:.1%}" if metric == "accuracy" else f"{row['accuracy']:.4g}"
    return (
        f"{row['phase'].replace('_', '-')}: loss {row['loss']:.3f}, "
        f"{metric} {figure}, predicted {format_s(row['latency_s'])}{budget}, "
        f"{row['channels']} channels"
    )
