"""Pictures of a run: accuracy against latency, the controller's way, widths before and after."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latprof._extras import require
from latprof._figures import NAMES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["accuracy_against_latency", "save", "svg", "trajectory", "widths"]

_COLOURS = {"original": "#4c5a67", "uniform": "#d98032", "compressed": "#1f77b4"}


def _figure(width: float, height: float) -> Figure:
    figure = require("matplotlib.figure", extra="report", why="drawing")
    drawn: Figure = figure.Figure(figsize=(width, height), layout="constrained")
    return drawn


def accuracy_against_latency(result: Mapping[str, Any]) -> Figure:
    """Measured latency and accuracy of each network, with the budget as a line."""
    figure = _figure(6.4, 4.0)
    axes = figure.subplots()
    for key in (k for k in NAMES if k in result):
        x, y = result[key]["latency_s"] * 1e6, result[key]["accuracy"] * 100
        axes.scatter([x], [y], s=90, color=_COLOURS[key], zorder=3)
        axes.annotate(
            f"{NAMES[key]}\n{y:.2f}%, {x:.0f} us",
            (x, y),
            xytext=(0, 10),
            textcoords="offset points",
            ha="center",
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
        )
    if result["budget_s"] is not None:
        budget_us = result["budget_s"] * 1e6
        axes.axvline(budget_us, color="#b03a2e", linestyle="--", linewidth=1)
        across = axes.get_xaxis_transform()
        axes.text(budget_us, 0.02, " budget", color="#b03a2e", transform=across)
    axes.margins(0.25, 0.35)
    axes.set_xlabel("measured latency of the exported file (us)")
    axes.set_ylabel("test accuracy (%)")
    axes.grid(alpha=0.3)
    return figure


def trajectory(log: Sequence[Mapping[str, Any]]) -> Figure:
    """Predicted latency on its way to the budget, and lambda, over the mask phase."""
    rows = list({r["step"]: r for r in log if r["phase"] == "masks"}.values())
    steps = [r["step"] for r in rows]
    figure = _figure(6.4, 4.6)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    above.plot(steps, [r["latency_s"] * 1e6 for r in rows], color=_COLOURS["compressed"])
    if (budget_s := rows[-1]["budget_s"]) is not None:
        above.axhline(budget_s * 1e6, color="#b03a2e", linestyle="--", linewidth=1)
    above.set_ylabel("predicted latency (us)")
    below.semilogy(steps, [max(r["strength"], 1e-9) for r in rows], color="#4c5a67")
    positive = [r["strength"] for r in rows if r["strength"] > 0]
    if positive:
        below.set_ylim(min(positive) / 2, max(positive) * 2)
    below.set_ylabel("lambda")
    below.set_xlabel("step of the mask phase")
    for axes in (above, below):
        axes.grid(alpha=0.3)
    return figure


def widths(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Channels of each group, before and after."""
    figure = _figure(7.5, 0.9 + 0.22 * len(rows))
    axes = figure.subplots()
    places = range(len(rows))
    axes.barh(places, [r["before"] for r in rows], color="#dfe3e6", label="before")
    axes.barh(places, [r["after"] for r in rows], color=_COLOURS["compressed"], label="after")
    axes.set_yticks(places, [r["group"] for r in rows], fontsize=7)
    for place, row in zip(places, rows, strict=True):
        axes.text(
            row["before"], place, f" {row['after']} of {row['before']}", va="center", fontsize=7
        )
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.set_xlabel("channels")
    axes.legend(loc="lower right")
    return figure


def svg(figure: Figure) -> str:
    """The figure as an <svg> element, to stand in a page."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg")
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def save(figure: Figure, path: Path) -> Path:
    figure.savefig(path, dpi=150)
    return path
