"""One self-contained HTML page of a run folder."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from latprof.errors import UsageError
from latprof.report import _plots
from latprof.report._figures import COLUMNS, NAMES, figure_row, verdict, weather
from latprof.vocabulary import Target, format_s

__all__ = ["read_run", "write_report"]

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem;
       color: #22303c }
h1 { font-size: 1.5rem } h2 { font-size: 1.15rem; margin-top: 2rem }
table { border-collapse: collapse } td, th { padding: .3rem .9rem; text-align: right;
       border-bottom: 1px solid #dfe3e6 } td:first-child, th:first-child { text-align: left }
svg { max-width: 100%; height: auto } .met { color: #1e7b34 } .missed { color: #b03a2e }
"""


def read_run(folder: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """``result.json`` and the rows of ``log.jsonl``.

    Raises:
        UsageError: the folder holds no finished run.
    """
    try:
        result: dict[str, Any] = json.loads((folder / "result.json").read_text())
        log = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    except (OSError, ValueError) as exc:
        raise UsageError(
            f"{folder} holds no finished run ({exc}); expected result.json and log.jsonl, "
            "as latprof demo and latprof compress leave them"
        ) from exc
    return result, log


def write_report(folder: Path) -> Path:
    """``report.html`` in the folder, with nothing to load from elsewhere; returns its path."""
    result, log = read_run(folder)
    parts = [
        "<!doctype html><html lang='en'><meta charset='utf-8'><title>latprof report</title>",
        f"<style>{_STYLE}</style><h1>latprof: {html.escape(folder.resolve().name)}</h1>",
        f"<p>{html.escape(str(Target.from_dict(result['target'])))}</p>",
        *map(_budget, result["budgets"]),
        _table(result),
        "<h2>Accuracy against measured latency</h2>",
        _plots.svg(_plots.accuracy_against_latency(result)),
        "<h2>The controller's way to the budget</h2>",
        _plots.svg(_plots.trajectory(log)),
        "<h2>Training</h2>",
        _plots.svg(_plots.curves(log)),
        "<h2>Widths</h2>",
        _plots.svg(_plots.widths(result["widths"])),
        "<h2>Widths on their staircases</h2>",
        "<p>Predicted latency of the whole network along one width, the others as they ended: "
        "pale at every count, dark through those that the run chooses from.</p>",
        _plots.svg(_plots.staircases(result["staircases"])),
        "<h2>Layer by layer</h2>",
        _plots.svg(_plots.layers(result["layers"])),
        _layers(result["layers"]),
        "</html>",
    ]
    path = folder / "report.html"
    path.write_text("\n".join(parts))
    return path


def _budget(budget: Mapping[str, Any]) -> str:
    word, rest = verdict(budget)
    return f"<p>Budget <strong class='{word}'>{word}</strong>: {html.escape(rest)}.</p>"


def _table(result: Mapping[str, Any]) -> str:
    rows = [figure_row(name, result[key]) for key, name in NAMES.items() if key in result]
    rows[1:1] = [figure_row(figures["name"], figures) for figures in result["trail"]]
    told = weather(result)
    return _cells(COLUMNS, rows) + (f"<p>{html.escape(told)}.</p>" if told else "")


def _layers(rows: Sequence[Mapping[str, Any]]) -> str:
    """Every op, to be unfolded."""
    head = ("module", "op", "channels before", "after", "measured", "predicted", "error")
    body = []
    for row in rows:
        before, after = ("x".join(map(str, row[key])) for key in ("before", "after"))
        measured_s, predicted_s = row["latency_s"], row["predicted_s"]
        told = ["disturbed", format_s(predicted_s), ""]
        if measured_s is not None:
            error = f"{predicted_s / measured_s - 1:+.1%}"
            told = [format_s(measured_s), format_s(predicted_s), error]
        body.append([row["module"], row["op"], before, after, *told])
    return f"<details><summary>every op</summary>{_cells(head, body)}</details>"


def _cells(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    cells = "".join(
        "<tr>" + "".join(f"<td>{html.escape(c)}</td>" for c in row) + "</tr>" for row in rows
    )
    return f"<table><tr>{''.join(f'<th>{h}</th>' for h in head)}</tr>{cells}</table>"
