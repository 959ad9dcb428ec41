"""One self-contained HTML page of a run folder."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from latprof.report import _plots
from latprof.report._figures import (
    CLASS_COLUMNS,
    advice_lines,
    class_rows,
    columns,
    conditions,
    figure_row,
    lost_classes_text,
    verdict,
)
from latprof.report._log import read_log
from latprof.report._search import (
    SAMPLE_COLUMNS,
    front_columns,
    front_figure,
    front_rows,
    sample_rows,
    search_figure,
    search_verdict,
)
from latprof.report._slack import slack_text
from latprof.vocabulary import BudgetOutcome, LayerResult, RunResult, format_s, replace_file

__all__ = ["write_report"]

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem;
       color: #22303c }
h1 { font-size: 1.5rem } h2 { font-size: 1.15rem; margin-top: 2rem }
table { border-collapse: collapse } td, th { padding: .3rem .9rem; text-align: right;
       border-bottom: 1px solid #dfe3e6 } td:first-child, th:first-child { text-align: left }
svg { max-width: 100%; height: auto } .met { color: #1e7b34 } .missed { color: #b03a2e }
"""


def write_report(folder: Path) -> Path:
    """``report.html`` in the folder, with nothing to load from elsewhere; returns its path.

    Raises:
        UsageError: the folder holds no finished run.
    """
    result = RunResult.load(folder / "result.json")
    log = read_log(folder / "log.jsonl")
    parts = [
        "<!doctype html><html lang='en'><meta charset='utf-8'><title>latprof report</title>",
        f"<style>{_STYLE}</style><h1>latprof: {html.escape(folder.resolve().name)}</h1>",
        f"<p>{html.escape(str(result.target))}</p>",
        *_facts(folder, result),
        *map(_budget, result.budgets),
        *(_search_verdict(result) if result.search else []),
        _table(result),
        *(_advice(result) if result.advice else []),
        *(_search(result) if result.search else []),
        *(_front(result) if result.search and result.search.front else []),
        "<h2>Accuracy against measured latency</h2>",
        _plots.svg(_plots.accuracy_against_latency(result)),
        *_slack(result),
        *(_classes(result) if result.classes else []),
        *(_training(log) if log else []),
        *(_widths(result) if result.widths else []),
        *(_layers(result.layers) if result.layers else []),
        "</html>",
    ]
    return replace_file(folder / "report.html", "\n".join(parts).encode())


def _facts(folder: Path, result: RunResult) -> list[str]:
    """When it was written, what was asked, and the file to deploy with the command to check it."""
    written = datetime.fromtimestamp((folder / "result.json").stat().st_mtime)
    file = html.escape(result.compressed.file)
    facts = [f"<p>Units were chosen by <code>{html.escape(result.method)}</code>.</p>"]
    facts = facts if result.method else []
    facts += [
        f"<p>Written {written:%Y-%m-%d %H:%M}. The file to deploy: <code>{file}</code>; "
        f"check it with <code>latprof verify {file} --table TABLE</code></p>"
    ]
    config = folder / "run.toml"
    if config.is_file():
        text = html.escape(config.read_text(encoding="utf-8"))
        facts.append(f"<details><summary>configuration</summary><pre>{text}</pre></details>")
    return facts


def _budget(outcome: BudgetOutcome) -> str:
    word, rest = verdict(outcome)
    return f"<p>Budget <strong class='{word}'>{word}</strong>: {html.escape(rest)}.</p>"


def _search_verdict(result: RunResult) -> list[str]:
    word, rest = search_verdict(result)
    style = "met" if word == "kept" else "missed"
    return [f"<p>Floor <strong class='{style}'>{word}</strong>: {html.escape(rest)}.</p>"]


def _search(result: RunResult) -> list[str]:
    """Every sample, the floor and the chosen one: in a picture and in figures."""
    metric = html.escape(result.metric.capitalize())
    return [
        f"<h2>{metric} against the objective</h2>",
        _plots.svg(search_figure(result)),
        _cells(SAMPLE_COLUMNS, sample_rows(result)),
    ]


def _front(result: RunResult) -> list[str]:
    """Trade-offs between several objectives, in a picture and in figures."""
    return [
        "<h2>Trade-offs</h2>",
        _plots.svg(front_figure(result)),
        _cells(front_columns(result), front_rows(result)),
    ]


def _advice(result: RunResult) -> list[str]:
    """What ``why`` said of the file at the end of the run."""
    items = "".join(f"<li>{html.escape(line)}</li>" for line in advice_lines(result))
    file = html.escape(result.compressed.file)
    return [
        f"<h2>What slows the file</h2><ol>{items}</ol>",
        f"<p>All of it: <code>latprof why {file}</code></p>",
    ]


def _table(result: RunResult) -> str:
    rows = [figure_row(network, result) for network in result.networks]
    load = conditions(result)
    return _cells(columns(result), rows) + (f"<p>{html.escape(load)}.</p>" if load else "")


def _slack(result: RunResult) -> list[str]:
    text = slack_text(result)
    return [f"<p>{html.escape(text.capitalize())}.</p>"] if text else []


def _classes(result: RunResult) -> list[str]:
    warning = lost_classes_text(result)
    shown = ["<h2>Classes that lose most</h2>", _cells(CLASS_COLUMNS, class_rows(result))]
    if warning:
        shown.append(f"<p class='missed'>{html.escape(warning.capitalize())}.</p>")
    return shown


def _training(log: Sequence[Mapping[str, Any]]) -> list[str]:
    return [
        "<h2>The path to the budget</h2>",
        _plots.svg(_plots.trajectory(log)),
        "<h2>Training</h2>",
        _plots.svg(_plots.curves(log)),
    ]


def _widths(result: RunResult) -> list[str]:
    shown = ["<h2>Widths</h2>", _plots.svg(_plots.widths(result.widths))]
    if result.staircases:
        shown += [
            "<h2>Latency along each width</h2>",
            "<p>Predicted latency of the whole network along one width, the others as they "
            "ended: pale at every count, dark through those that the run chooses from.</p>",
            _plots.svg(_plots.staircases(result.staircases)),
        ]
    return shown


def _layers(rows: Sequence[LayerResult]) -> list[str]:
    """The picture, and every op to be unfolded."""
    head = ("module", "op", "channels before", "after", "measured", "predicted", "error")
    body = []
    for row in rows:
        before, after = ("x".join(map(str, pair)) for pair in (row.before, row.after))
        figures = ["discarded", format_s(row.predicted_s), ""]
        if row.latency_s is not None:
            error = f"{row.predicted_s / row.latency_s - 1:+z.1%}"
            figures = [format_s(row.latency_s), format_s(row.predicted_s), error]
        body.append([row.module, row.op, before, after, *figures])
    table = f"<details><summary>every op</summary>{_cells(head, body)}</details>"
    return ["<h2>Layer by layer</h2>", _plots.svg(_plots.layers(rows)), table]


def _cells(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    cells = "".join(
        "<tr>" + "".join(f"<td>{html.escape(c)}</td>" for c in row) + "</tr>" for row in rows
    )
    return f"<table><tr>{''.join(f'<th>{h}</th>' for h in head)}</tr>{cells}</table>"
