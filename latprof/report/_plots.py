"""Pictures of a run: accuracy against latency, the path to the budget, curves, widths, layers."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latprof.report._figures import NAMES, metric_text
from latprof.vocabulary import LayerResult, RunResult, StaircaseResult, WidthResult, require

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "accuracy_against_latency",
    "curves",
    "layers",
    "plot_networks",
    "staircases",
    "svg",
    "trajectory",
    "widths",
]

_COLORS = {"original": "#4c5a67", "uniform": "#d98032", "compressed": "#1f77b4"}
_BUDGET, _TRAIL = "#b03a2e", "#8fb9dc"


def _figure(width: float, height: float) -> Figure:
    figure = require("matplotlib.figure", extra="report", why="drawing")
    drawn: Figure = figure.Figure(figsize=(width, height), layout="constrained")
    return drawn


def accuracy_against_latency(result: RunResult) -> Figure:
    """Measured latency and accuracy of each network, with the budget as a line."""
    figure = _figure(6.4, 4.0)
    axes = figure.subplots()
    is_share = result.metric == "accuracy"
    factor = 100 if is_share else 1
    steps = [(n.latency_s * 1e6, n.accuracy * factor) for n in result.trail]
    if steps:
        axes.plot(*zip(*steps, strict=True), "o--", color=_TRAIL, lw=1, label="trail")
        axes.legend(loc="lower right")
    for network in (n for n in result.networks if n.name in NAMES):
        x, y = network.latency_s * 1e6, network.accuracy * factor
        axes.scatter([x], [y], s=90, color=_COLORS[network.name], zorder=3)
        axes.annotate(
            f"{NAMES[network.name]}\n{metric_text(result.metric, network.accuracy)}, {x:.0f} us",
            (x, y),
            xytext=(0, 10),
            textcoords="offset points",
            ha="center",
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
        )
    if result.latency_budget_s is not None:
        budget_us = result.latency_budget_s * 1e6
        axes.axvline(budget_us, color=_BUDGET, linestyle="--", linewidth=1)
        across = axes.get_xaxis_transform()
        axes.text(budget_us, 0.02, " budget", color=_BUDGET, transform=across)
    axes.margins(0.25, 0.35)
    axes.set_xlabel("measured latency of the exported file (us)")
    axes.set_ylabel("test accuracy (%)" if is_share else f"{result.metric} on the test data")
    axes.grid(alpha=0.3)
    return figure


def trajectory(log: Sequence[Mapping[str, Any]]) -> Figure:
    """Predicted latency and lambda over the mask phase."""
    rows = _steps(log, "masks")
    figure = _figure(6.4, 4.6)
    if not rows:
        return figure
    steps = [r["step"] for r in rows]
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    above.plot(steps, [r["latency_s"] * 1e6 for r in rows], color=_COLORS["compressed"])
    if (budget_s := rows[-1].get("budget_s")) is not None:
        above.axhline(budget_s * 1e6, color=_BUDGET, linestyle="--", linewidth=1)
    above.set_ylabel("predicted latency (us)")
    weights = [r.get("penalty_weight", r.get("strength", 0.0)) for r in rows]  # before: strength
    below.semilogy(steps, [max(w, 1e-9) for w in weights], color="#4c5a67")
    positive = [w for w in weights if w > 0]
    if positive:
        below.set_ylim(min(positive) / 2, max(positive) * 2)
    below.set_ylabel("lambda")
    below.set_xlabel("step of the mask phase")
    for axes in (above, below):
        axes.grid(alpha=0.3)
    return figure


def curves(log: Sequence[Mapping[str, Any]]) -> Figure:
    """Training loss and accuracy over both phases, running means."""
    figure = _figure(6.4, 3.6)
    left, right = figure.subplots(1, 2)
    after, metric = 0, "accuracy"
    for phase, color in (("masks", _COLORS["compressed"]), ("fine_tune", _COLORS["uniform"])):
        rows = _steps(log, phase)
        if not rows:
            continue
        steps = [after + r["step"] for r in rows]
        style = {"color": color, "label": phase.replace("_", "-"), "marker": ".", "ms": 3}
        left.plot(steps, [r["loss"] for r in rows], **style)
        metric = rows[-1].get("metric", "accuracy")
        factor = 100 if metric == "accuracy" else 1
        right.plot(steps, [factor * r["accuracy"] for r in rows], **style)
        after += rows[-1]["total"]
    left.set_ylabel("training loss")
    right.set_ylabel("training accuracy (%)" if metric == "accuracy" else f"training {metric}")
    for axes in (left, right):
        axes.set_xlabel("step")
        axes.grid(alpha=0.3)
    left.legend()
    return figure


def _steps(log: Sequence[Mapping[str, Any]], phase: str) -> list[Mapping[str, Any]]:
    """The phase's rows in order; of steps done twice, after a kill, the later."""
    rows = {r["step"]: r for r in log if r["phase"] == phase}
    return [rows[step] for step in sorted(rows)]


def staircases(rows: Sequence[StaircaseResult]) -> Figure:
    """Predicted latency of the network along each group's width, and where the run ended: pale at
    every count, dark through those it chooses from."""
    columns = 3
    lines = -(-len(rows) // columns)
    figure = _figure(9.0, 2.2 * lines)
    panels = list(figure.subplots(lines, columns, squeeze=False).ravel())
    for spare in panels[len(rows) :]:
        spare.remove()
    for axes, row in zip(panels, rows, strict=False):
        latency_us = [1e6 * s for s in row.latency_s]
        style = {"drawstyle": "steps-mid", "color": _COLORS["original"]}
        axes.plot(row.counts, latency_us, lw=0.6, alpha=0.35, **style)
        pairs = zip(row.counts, latency_us, strict=True)
        chosen = [pair for pair in pairs if pair[0] in {*row.choices, row.after}]
        axes.plot(*zip(*chosen, strict=True), **style)
        ended = latency_us[row.counts.index(row.after)]
        axes.plot([row.after], [ended], "o", color=_COLORS["compressed"])
        axes.set_title(f"{row.group}: {row.after} of {row.counts[-1]}", fontsize=7)
        axes.tick_params(labelsize=7)
        axes.grid(alpha=0.3)
    figure.supxlabel("channels", fontsize=9)
    figure.supylabel("predicted latency (us)", fontsize=9)
    return figure


def layers(rows: Sequence[LayerResult]) -> Figure:
    """Predicted against measured latency of each op alone, with the 10% band."""
    figure = _figure(5.2, 4.4)
    axes = figure.subplots()
    pairs = [(1e6 * r.latency_s, 1e6 * r.predicted_s) for r in rows if r.latency_s]
    if pairs:
        every = [value for pair in pairs for value in pair]
        ends = [min(every) / 1.3, max(every) * 1.3]
        axes.fill_between(
            ends, [0.9 * e for e in ends], [1.1 * e for e in ends], color="0.5", alpha=0.15, lw=0
        )
        axes.plot(ends, ends, color="0.3", lw=0.8)
        measured, predicted = zip(*pairs, strict=True)
        axes.scatter(measured, predicted, s=18, color=_COLORS["compressed"], zorder=3)
        mape = sum(abs(p / m - 1) for m, p in pairs) / len(pairs)
        axes.set_title(f"{len(pairs)} ops, each measured alone: MAPE {mape:.1%}", fontsize=9)
        axes.set(xscale="log", yscale="log", xlim=ends, ylim=ends)
        ticker = require("matplotlib.ticker", extra="report", why="drawing")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
            axis.set_major_formatter(ticker.FormatStrFormatter("%g"))
            axis.set_minor_formatter(ticker.NullFormatter())
    axes.set_xlabel("measured (us)")
    axes.set_ylabel("predicted (us)")
    axes.grid(alpha=0.3)
    return figure


def widths(rows: Sequence[WidthResult]) -> Figure:
    """Channels of each group, before and after."""
    figure = _figure(7.5, 0.9 + 0.22 * len(rows))
    axes = figure.subplots()
    places = range(len(rows))
    axes.barh(places, [r.before for r in rows], color="#dfe3e6", label="before")
    axes.barh(places, [r.after for r in rows], color=_COLORS["compressed"], label="after")
    axes.set_yticks(places, [r.group for r in rows], fontsize=7)
    for place, row in zip(places, rows, strict=True):
        axes.text(row.before, place, f" {row.after} of {row.before}", va="center", fontsize=7)
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.set_xlabel("channels")
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False)
    return figure


def svg(figure: Figure) -> str:
    """The figure as an <svg> element, to stand in a page; its text is text, to be searched."""
    matplotlib = require("matplotlib", extra="report", why="drawing")
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def plot_networks(result: RunResult, path: str | Path) -> Path:
    """Write ``accuracy_against_latency`` of a run to an image file; returns its path.

    Args:
        result: of a run.
        path: its suffix is the format: .png, .svg, .pdf.

    Raises:
        MissingExtraError: matplotlib is not installed.

    Example:
        >>> plot_networks(latprof.RunResult.load("runs/first/result.json"), "networks.png")
        ...     # doctest: +SKIP
    """
    accuracy_against_latency(result).savefig(path, dpi=150)
    return Path(path)
