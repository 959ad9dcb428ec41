"""``latprof gate``: is a file fast enough, for continuous integration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

import latprof
from latprof._cli.shared import json_option, note, print_json, progress, settings_options
from latprof.vocabulary import replace_file


@click.command("gate")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--max", "max_latency", metavar="LATENCY", help="Limit of its latency, like 5ms.")
@click.option("--against", type=click.Path(path_type=Path), help="The file's predecessor.")
@click.option(
    "--max-slowdown",
    default="3%",
    show_default=True,
    help="A slowdown against the predecessor that is to be found; the line is at half of it.",
)
@click.option("--device", default="local", show_default=True, help="Where to measure.")
@click.option("--runtime", help="What runs it.  [default: the runtime of the file's format]")
@click.option(
    "--threads", type=click.IntRange(1), default=1, show_default=True, help="Of the runtime."
)
@click.option("--markdown", type=click.Path(path_type=Path), help="Append a summary to this file.")
@click.option("--junit", type=click.Path(path_type=Path), help="Write JUnit XML to this file.")
@settings_options
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    /,
    file: Path,
    markdown: Path | None,
    junit: Path | None,
    settings: dict[str, Any],
    as_json: bool,
    **options: Any,
) -> None:
    """Is FILE fast enough on DEVICE?

    Measures it against a limit, against its predecessor in turns, or both, for at most a minute,
    until every answer has a confidence of 99%.

    Exit codes: 0 fast enough; 3 too slow; 4 the noise is too large to decide; 1 measuring failed;
    2 it cannot be done as asked.
    """
    with progress("measuring", 100) as update:
        result = latprof.gate(
            file,
            on_progress=lambda share: update(100 * share),
            **options,
            **settings,
        )
    if markdown is not None:
        with markdown.open("a", encoding="utf-8") as out:  # a job's summary may hold more
            out.write(result.markdown())
    if junit is not None:
        replace_file(junit, result.junit().encode())
    if as_json:
        print_json(result.to_dict())
    else:
        click.echo(f"{file} on {result.target}: {result.verdict}")
        for check in result.checks:
            click.echo(f"  {check.name.replace('_', '-')}: {check}")
        if result.comparison.beside_load:
            note("some of the rounds were beside background load")
    ctx.exit(result.exit_code)
