"""``latprof verify``: measure an exported file on a device, beside its prediction."""

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
    print_usage,
    progress,
    settings_options,
)
from latprof.report import sustained_lines, sustained_markdown
from latprof.vocabulary import format_s


@click.command("verify")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--device", default="local", show_default=True)
@click.option(
    "--table", type=click.Path(path_type=Path), required=True, help="Table of the target."
)
@click.option(
    "--max", "max_latency", metavar="LATENCY", help="A limit, like 5ms; see latprof gate."
)
@click.option("--max-bytes", metavar="SIZE", help="A limit on the size of FILE, like 4MB.")
@click.option(
    "--sustained",
    metavar="TIME",
    help="Also run FILE for so long, like 10min; --max is then of the steady state.",
)
@click.option("--max-memory", metavar="SIZE", help="A limit on its peak memory, like 20MB.")
@click.option(
    "--markdown",
    type=click.Path(path_type=Path),
    help="With --sustained: append its latency over time to this file.",
)
@settings_options
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    /,
    file: Path,
    device: str,
    table: Path,
    max_latency: str | None,
    max_bytes: str | None,
    max_memory: str | None,
    sustained: str | None,
    markdown: Path | None,
    settings: dict[str, Any],
    as_json: bool,
) -> None:
    """Measure FILE on DEVICE with the table's runtime, beside what the table predicts.

    Where FILE was written by latprof, its outputs on the device are compared with the outputs
    the network had before the export.

    Its peak memory on DEVICE is measured too, and its energy where DEVICE has a counter of it.

    With --sustained its latency is measured over that time: in the first minute, in the steady
    state, and when the device began to throttle. Ctrl-C ends it early and keeps what was measured.

    With --max, --max-bytes or --max-memory the exit code says whether FILE is within them: 0 yes;
    3 no; 4 not decided.
    """
    with progress("measuring", 100) as update:
        result = latprof.verify(
            file,
            table,
            device=device,
            max_latency=max_latency,
            max_bytes=max_bytes,
            max_memory=max_memory,
            sustained=sustained,
            on_event=lambda event: update(100 * event.fraction),
            **settings,
        )
    if markdown is not None and result.sustained is not None:
        with markdown.open("a", encoding="utf-8") as out:  # a job's summary may hold more
            out.write(sustained_markdown(result.sustained))
    if as_json:
        print_json(result.to_dict())
        ctx.exit(result.exit_code)
    error = (
        "no reference beside the file"
        if result.max_rel_error is None
        else f"{result.max_rel_error:.1e}"
    )
    print_table(
        f"{file} on {result.target}",
        ["measured", "predicted", "predicted / measured", "largest relative error of outputs"],
        [
            [
                format_s(result.latency_s),
                format_s(result.predicted_s),
                f"{result.predicted_s / result.latency_s:.3f}",
                error,
            ]
        ],
    )
    print_usage(result.usage)
    if result.sustained is not None:
        for line in sustained_lines(result.sustained):
            click.echo(line)
    if result.detail:
        note(f"{result.status}: {result.detail}")
    if result.check is not None:
        click.echo(f"max: {result.check}")
    if result.max_bytes is not None:
        holds = "within" if result.fits else "more than"
        click.echo(f"max-bytes: {result.bytes:,} bytes, {holds} {result.max_bytes:,.0f}")
    if result.max_memory is not None:
        taken = result.usage.memory_bytes
        found = "not available" if taken is None else f"{taken:,.0f} bytes"
        holds = {True: "within", False: "more than", None: "not decided:"}[result.fits_memory]
        click.echo(f"max-memory: {found}, {holds} {result.max_memory:,.0f}")
    ctx.exit(result.exit_code)
