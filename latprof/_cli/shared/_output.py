"""What every command prints with: results on stdout, progress on stderr."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table
from rich.text import Text

from latprof.report import (
    SAMPLE_COLUMNS,
    advice_lines,
    columns,
    conditions,
    figure_row,
    front_columns,
    front_rows,
    lost_classes_text,
    sample_rows,
    search_verdict,
    slack_text,
    verdict,
)
from latprof.vocabulary import RunResult, format_duration, format_figure, format_j

if TYPE_CHECKING:
    from latprof.devices import Usage

__all__ = [
    "MODEL_HELP",
    "json_option",
    "note",
    "print_json",
    "print_run",
    "print_table",
    "print_usage",
    "progress",
    "working",
]

#: What takes less is not announced.
_QUIET_S = 2.0
#: What a MODEL argument is, for the end of a command's --help.
MODEL_HELP = (
    "MODEL is a file (.onnx, .tflite, .pt2), zoo:NAME, timm:NAME, torchvision:NAME, "
    "transformers:NAME, or package.module:callable, which returns (module, example_inputs)."
)

#: Every command takes it: one JSON object on stdout and nothing else.
json_option = click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")

_out = Console(soft_wrap=True, highlight=False)
_err = Console(stderr=True, soft_wrap=True, highlight=False)


def note(text: str) -> None:
    """One line to stderr: what is happening, for people."""
    _err.print(text, markup=False)


@contextmanager
def working(text: str) -> Iterator[None]:
    """Say what is done now, where it takes a while: at once in a terminal, else after 2 s."""
    if _err.is_terminal:
        with _err.status(Text(text)):
            yield
        return
    timer = threading.Timer(_QUIET_S, note, [text])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def print_json(result: Any) -> None:
    """The command's result as one line of JSON; NaN and infinity are refused."""
    click.echo(json.dumps(result, allow_nan=False))


def print_table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], *, text: Sequence[int] = (0,)
) -> None:
    """A table on stdout; the columns numbered in ``text`` are text, the others figures.

    Cells are data, never markup: a path may hold brackets.
    """
    table = Table(title=Text(title) if title else None, title_justify="left")
    for index, column in enumerate(columns):
        justify: Any = "left" if index in text else "right"
        table.add_column(Text(column), justify=justify, overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    unbounded = _out.options.update(max_width=sys.maxsize)
    if _out.measure(table, options=unbounded).maximum > _out.width:
        table.padding = 0  # before words are broken
    _out.print(table)


def print_usage(usage: Usage) -> None:
    """Memory and energy of a file, one line each, or why the device does not tell."""
    texts = {name: f"not available: {why}" for name, why in usage.missing.items()}
    if usage.memory_bytes is not None:
        texts["memory"] = f"{format_figure('memory', usage.memory_bytes)} at its peak"
        if usage.arena_bytes is not None:
            arena = format_figure("memory", usage.arena_bytes)
            texts["memory"] += f", {arena} in the runtime's arena"
    if usage.energy_j is not None:
        texts["energy"] = f"{format_j(usage.energy_j)} per inference"
    for name in ("memory", "energy"):
        click.echo(f"{name}: {texts[name]}")


def print_run(result: RunResult) -> None:
    """The networks of a run, one row each, its budgets, and the file to deploy."""
    head = columns(result)
    measured = [n for n, title in enumerate(head) if title not in result.missing]
    rows = [figure_row(network, result) for network in result.networks]
    verdicts = [f"budget {' '.join(verdict(budget))}" for budget in result.budgets]
    if result.search is not None:
        verdicts.append(f"floor {' '.join(search_verdict(result))}")
        print_table("", SAMPLE_COLUMNS, sample_rows(result))
        if result.search.front:
            print_table("trade-offs, also in front.csv", front_columns(result), front_rows(result))
    shown = [[row[n] for n in measured] for row in rows]
    print_table("\n".join(verdicts), [head[n] for n in measured], shown)
    for title, why in result.missing.items():
        click.echo(f"{title}: not available: {why}")
    if slack := slack_text(result):
        click.echo(slack)
    for warning in filter(None, (lost_classes_text(result), conditions(result))):
        note(warning)
    file = result.compressed.file
    click.echo(f"deploy {file}; check it with: latprof verify {file} --table TABLE")
    others = sorted(Path(file).parent.glob(f"{Path(file).stem}.*-*{Path(file).suffix}"))
    if others:  # of budgets of a prefill and of decoding
        click.echo(f"beside it: {', '.join(path.name for path in others)}")
    if lines := advice_lines(result):
        click.echo(f"what slows it; all of it: latprof why {file}")
        for number, line in enumerate(lines, start=1):
            click.echo(f"{number}. {line}")


@contextmanager
def progress(description: str, total: float | None = None) -> Iterator[Callable[..., None]]:
    """A progress bar on stderr with elapsed and remaining time.

    Yields ``update(completed, total=..., description=..., left_s=...)``; without ``left_s`` the
    remaining time follows from the speed so far. It never goes back, though measuring may find
    that more is to be done. Where stderr is no terminal a line is printed at each tenth of the
    way instead.
    """
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[left]}"),
    )
    bar = Progress(*columns, console=_err, disable=not _err.is_terminal)
    task = bar.add_task(description, total=total, left="")
    tenth, furthest = -1, 0.0

    def update(
        completed: float,
        total: float | None = None,
        description: str | None = None,
        left_s: float | None = None,
    ) -> None:
        nonlocal tenth, furthest
        furthest = max(furthest, completed)
        bar.update(task, completed=furthest, total=total, description=description)
        if left_s is None:
            left_s = bar.tasks[task].time_remaining
        left = f"{format_duration(left_s)} left" if left_s else ""
        bar.update(task, left=left)
        whole = bar.tasks[task].total
        now = int(10 * furthest / whole) if whole else tenth
        if not _err.is_terminal and now > tenth:
            tenth = now
            ending = f", {left}" if left else ""
            note(f"{bar.tasks[task].description}: {furthest / (whole or 1.0):.0%}{ending}")

    with bar:
        yield update
