"""``latprof why``: what slows a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

import latprof
from latprof._cli.shared import (
    json_option,
    note,
    print_json,
    print_table,
    progress,
    settings_options,
)
from latprof.pipeline.explaining import OpShare, WhyResult, ending, label, lines_of, summary
from latprof.vocabulary import format_s, replace_file

#: Ops in the table of a result, those that take longest; --all lists every one.
_MOST_OPS = 15


@click.command("why")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--device", default="local", show_default=True, help="local, or ssh:HOST.")
@click.option(
    "--table", type=click.Path(path_type=Path), help="Latency table: ops alone, and a roofline."
)
@click.option("--check", is_flag=True, help="Apply each advice to a copy of FILE and measure it.")
@click.option(
    "--threads", type=click.IntRange(1), default=1, show_default=True, help="Of the runtime."
)
@click.option("--max-s", type=float, help="Seconds it may take, about; fewer things are tried.")
@click.option("--html", type=click.Path(path_type=Path), help="Write a page with the graph.")
@click.option(
    "--model-explorer",
    type=click.Path(path_type=Path),
    help="Write node data for Google's Model Explorer.",
)
@click.option("--all", "every_op", is_flag=True, help="List every op, not the slowest 15.")
@settings_options
@json_option
def command(
    file: Path,
    html: Path | None,
    model_explorer: Path | None,
    every_op: bool,
    settings: dict[str, Any],
    as_json: bool,
    **options: Any,
) -> None:
    """Why is FILE slow on DEVICE?

    What each op of an .onnx, .tflite or .pt2 file takes inside it, by the runtime's own profiler,
    and what slows it, largest first: each verdict says what was measured, what is predicted and
    what to try.
    """
    with progress("profiling", 100) as update:
        result = latprof.why(
            file,
            on_progress=lambda what, share: update(100 * share, description=what),
            **options,
            **settings,
        )
    if html is not None:
        replace_file(html, result.html().encode())
    if model_explorer is not None:
        replace_file(model_explorer, result.model_explorer().encode())
    if as_json:
        print_json(result.to_dict())
        return
    click.echo(f"{file} on {result.target}")
    click.echo(summary(result))
    if result.beside_load:
        note("beside background load: all times are too long, some more than others")
    _print_ops(result, every_op)
    for number, verdict in enumerate(result.verdicts, start=1):
        click.echo(f"{number}. {verdict.words}{ending(verdict)}")
        for line in lines_of(verdict):
            click.echo(f"   {line}")
    if not result.verdicts:
        note("nothing found that would save 1% or more")


def _print_ops(result: WhyResult, every_op: bool) -> None:
    ops = sorted(result.ops, key=lambda op: -op.seconds)
    shown = ops if every_op else ops[:_MOST_OPS]
    rows = [_row(op) for op in shown]
    if rest := ops[len(shown) :]:
        share = sum(op.share for op in rest)
        seconds = format_s(sum(op.seconds for op in rest))
        rows.append((f"{len(rest)} more", "", seconds, f"{share:.1%}", "", ""))
    print_table("", ("op", "makes", "inside", "share", "alone", "roofline"), rows, text=(0, 1))


def _row(op: OpShare) -> tuple[str, ...]:
    alone = f"{format_s(op.alone_s)} ({op.alone_from})" if op.alone_s is not None else ""
    roofline = format_s(op.roofline_s) if op.roofline_s is not None else ""
    return op.op, label(op), format_s(op.seconds), f"{op.share:.1%}", alone, roofline
