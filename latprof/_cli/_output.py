"""What every command prints with: results on stdout, progress on stderr."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from latprof.report import COLUMNS, figure_row, verdict, weather

__all__ = ["json_option", "note", "print_figures", "print_json", "print_table", "progress"]

#: Every command takes it: one JSON object on stdout and nothing else.
json_option = click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")

_out = Console(soft_wrap=True, highlight=False)
_err = Console(stderr=True, soft_wrap=True, highlight=False)


def note(text: str) -> None:
    """One line to stderr: what is happening, for people."""
    _err.print(text, markup=False)


def print_json(result: Any) -> None:
    """The command's result as one line of JSON; NaN and infinity are refused."""
    click.echo(json.dumps(result, allow_nan=False))


def print_table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], *, text: Sequence[int] = (0,)
) -> None:
    """A table on stdout; the columns numbered in ``text`` are text, the others figures."""
    table = Table(title=title, title_justify="left")
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index in text else "right")
    for row in rows:
        table.add_row(*row)
    _out.print(table)


def print_figures(result: Mapping[str, Any], names: Mapping[str, str]) -> None:
    """The networks of a run's result, one row each, as ``names`` calls them."""
    shown = [(name, result[key]) for key, name in names.items()]
    shown[1:1] = [(figures["name"], figures) for figures in result["trail"]]
    rows = []
    for name, figures in shown:
        row = figure_row(name, figures)
        row[2] += f" ({figures['latency_s'] / result['original']['latency_s']:.1%})"
        rows.append(row)
    verdicts = (" ".join(verdict(budget)) for budget in result["budgets"])
    print_table("\n".join(f"budget {line}" for line in verdicts), COLUMNS, rows)
    if told := weather(result):
        note(told)


@contextmanager
def progress(description: str, total: int | None = None) -> Iterator[Callable[..., None]]:
    """A progress bar on stderr with elapsed and remaining time.

    Yields ``update(completed, total=..., description=...)``. Where stderr is no terminal a line
    is printed at each tenth of the way instead.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(elapsed_when_finished=False),
    )
    bar = Progress(*columns, console=_err, disable=not _err.is_terminal)
    task = bar.add_task(description, total=total)
    tenth = -1

    def update(
        completed: float, total: float | None = None, description: str | None = None
    ) -> None:
        nonlocal tenth
        if description is not None:
            bar.update(task, description=description)
        bar.update(task, completed=completed, total=total)
        whole = bar.tasks[task].total
        now = int(10 * completed / whole) if whole else tenth
        if not _err.is_terminal and now != tenth:
            tenth = now
            left = bar.tasks[task].time_remaining
            ending = f", {left:.0f} s left" if left else ""
            note(f"{bar.tasks[task].description}: {completed:.0f}/{whole:.0f}{ending}")

    with bar:
        yield update
