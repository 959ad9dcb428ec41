"""A search in figures and in one picture: every sample, the floor, and what was chosen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from latprof.report._figures import metric_text
from latprof.vocabulary import (
    RunResult,
    SampleResult,
    format_count,
    format_s,
    require,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "SAMPLE_COLUMNS",
    "front_columns",
    "front_figure",
    "front_rows",
    "objective_text",
    "sample_rows",
    "search_figure",
    "search_verdict",
]

SAMPLE_COLUMNS = ("sample", "way down", "held-out", "one-shot", "objective", "measured", "keeps it")

_PASSES, _FAILS, _ONE_SHOT, _FLOOR = "#1f77b4", "#d98032", "#b5bcc2", "#b03a2e"
#: Objectives in the unit that their axis has: (factor, text).
_UNITS = {
    "latency": (1e6, "measured latency (us)"),
    "throughput": (1.0, "inputs per second, measured"),
    "bytes": (1e-3, "size of the exported file (kB)"),
    "params": (1e-3, "parameters (thousands)"),
    "macs": (1e-6, "multiply-accumulates (millions)"),
}


def objective_text(objective: str, value: float) -> str:
    """A figure of an objective."""
    if objective == "latency":
        return format_s(value)
    if objective == "throughput":
        return f"{format_count(value)}/s"
    if objective in ("bytes", "params", "macs"):
        return format_count(value) + ("B" if objective == "bytes" else "")
    return f"{value:.4g}"


def search_verdict(result: RunResult) -> tuple[str, str]:
    """(``kept`` or ``missed``, the rest of the sentence) of a result's search."""
    search = result.search
    assert search is not None
    chosen = search.sample(search.chosen)
    figure = f"{metric_text(result.metric, chosen.metric)} +- {_error(result, chosen)}"
    best, before = (
        objective_text(search.objective, v) for v in (chosen.objective, search.original_objective)
    )
    return (
        "kept" if search.kept else "missed",
        f"{search.keep} is {metric_text(result.metric, search.floor)} on held-out data; sample "
        f"{search.chosen} of {len(search.samples)} has {figure}, {search.objective} {best} "
        f"(original {before}); {search.note}",
    )


def sample_rows(result: RunResult) -> list[list[str]]:
    """The samples as text, under SAMPLE_COLUMNS."""
    search = result.search
    assert search is not None
    rows = []
    for s in search.samples:
        one_shot = "" if s.one_shot is None else metric_text(result.metric, s.one_shot)
        mark = " *" if s.number == search.chosen else ""
        rows.append(
            [
                f"{s.number}{mark}",
                f"{s.progress:.1%}",
                f"{metric_text(result.metric, s.metric)} +- {_error(result, s)}",
                one_shot,
                objective_text(search.objective, s.objective),
                format_s(s.latency_s),
                "yes" if s.passes else "no",
            ]
        )
    return rows


def search_figure(result: RunResult) -> Figure:
    """The metric against the objective: samples with their standard errors, the same before
    fine-tuning in grey, the floor as a line, and a ring around the chosen one."""
    search = result.search
    assert search is not None
    drawing = require("matplotlib.figure", extra="report", why="drawing")
    figure: Figure = drawing.Figure(figsize=(6.4, 4.0), layout="constrained")
    axes = figure.subplots()
    factor = 100 if result.metric == "accuracy" else 1
    unit, label = _UNITS.get(search.objective, (1.0, search.objective))
    early = [(s.objective * unit, s.one_shot * factor) for s in search.samples if s.one_shot]
    if early:
        axes.plot(*zip(*early, strict=True), "o", color=_ONE_SHOT, label="before fine-tuning")
    for passes, color, name in ((True, _PASSES, "keeps it"), (False, _FAILS, "does not")):
        group = [s for s in search.samples if s.passes == passes]
        if group:
            axes.errorbar(
                [s.objective * unit for s in group],
                [s.metric * factor for s in group],
                yerr=[s.standard_error * factor for s in group],
                fmt="o",
                color=color,
                capsize=3,
                label=name,
            )
    for s in search.samples:
        axes.annotate(
            f" {s.number}",
            (s.objective * unit, s.metric * factor),
            xytext=(3, 4),
            textcoords="offset points",
            fontsize=8,
        )
    chosen = search.sample(search.chosen)
    place = [chosen.objective * unit], [chosen.metric * factor]
    axes.plot(*place, "o", ms=14, mfc="none", mec="#22303c", label="chosen")
    original = [search.original_objective * unit], [search.original * factor]
    axes.plot(*original, "s", color="#4c5a67", label="original")
    axes.axhline(search.floor * factor, color=_FLOOR, linestyle="--", linewidth=1)
    across = axes.get_yaxis_transform()
    axes.text(0.01, search.floor * factor, "floor", color=_FLOOR, transform=across, va="bottom")
    axes.set_xlabel(label)
    name = "accuracy (%)" if result.metric == "accuracy" else result.metric
    axes.set_ylabel(f"{name} on held-out data")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    return figure


def front_columns(result: RunResult) -> tuple[str, ...]:
    """What stands above ``front_rows``."""
    search = result.search
    assert search is not None
    return ("sample", result.metric, *(o.name for o in search.objectives), "taken with")


def front_rows(result: RunResult) -> list[list[str]]:
    """The trade-offs between several objectives, and the original, as text."""
    search = result.search
    assert search is not None
    originals = [objective_text(o.name, o.original) for o in search.objectives]
    rows = [["original", metric_text(result.metric, search.original), *originals, ""]]
    for number in search.front:
        s = search.sample(number)
        pairs = zip(search.objectives, s.objectives, strict=True)
        figures = [
            f"{objective_text(o.name, v)} ({v / o.original:.1%})" if o.original else f"{v:.4g}"
            for o, v in pairs
        ]
        mark = " *" if number == search.chosen else ""
        metric = f"{metric_text(result.metric, s.metric)} +- {_error(result, s)}"
        rows.append([f"{number}{mark}", metric, *figures, _settings_text(s)])
    return rows


def _settings_text(sample: SampleResult) -> str:
    """What it was taken with besides its place."""
    return ", ".join(
        f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in sample.settings.items()
        if not name.startswith("progress")
    )


def front_figure(result: RunResult) -> Figure:
    """The second objective against the first: all samples, the trade-offs joined by a line, the
    original, and a ring around the chosen one."""
    search = result.search
    assert search is not None
    drawing = require("matplotlib.figure", extra="report", why="drawing")
    figure: Figure = drawing.Figure(figsize=(6.4, 4.0), layout="constrained")
    axes = figure.subplots()
    first, second = search.objectives[:2]
    scales = [_UNITS.get(o.name, (1.0, o.name)) for o in (first, second)]
    units = [factor for factor, _ in scales]

    def place(values: Sequence[float]) -> tuple[float, float]:
        return values[0] * units[0], values[1] * units[1]

    for passes, color, name in ((True, _PASSES, "keeps it"), (False, _FAILS, "does not")):
        points = [place(s.objectives) for s in search.samples if s.passes == passes]
        if points:
            axes.plot(*zip(*points, strict=True), "o", color=color, label=name)
    for s in search.samples:
        axes.annotate(
            f" {s.number}",
            place(s.objectives),
            xytext=(3, 4),
            textcoords="offset points",
            fontsize=8,
        )
    front = [place(search.sample(number).objectives) for number in search.front]
    if front:
        axes.plot(*zip(*front, strict=True), "-", color=_PASSES, label="trade-offs")
    x, y = place(search.sample(search.chosen).objectives)
    axes.plot([x], [y], "o", ms=14, mfc="none", mec="#22303c", label="chosen")
    x, y = place((first.original, second.original))
    axes.plot([x], [y], "s", color="#4c5a67", label="original")
    axes.set_xlabel(scales[0][1])
    axes.set_ylabel(scales[1][1])
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    return figure


def _error(result: RunResult, sample: SampleResult) -> str:
    if result.metric == "accuracy":
        return f"{100 * sample.standard_error:.2f}"
    return f"{sample.standard_error:.2g}"
