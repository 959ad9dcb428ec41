"""``latprof bench``: just the latency of a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

import latprof
from latprof._cli.shared import (
    json_option,
    note,
    print_json,
    print_usage,
    progress,
    settings_options,
)
from latprof.vocabulary import format_s


@click.command("bench")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--device", default="local", show_default=True, help="Where to measure.")
@click.option("--runtime", help="What runs it.  [default: the runtime of the file's format]")
@click.option(
    "--threads", type=click.IntRange(1), default=1, show_default=True, help="Of the runtime."
)
@settings_options
@json_option
def command(
    file: Path,
    device: str,
    runtime: str | None,
    threads: int,
    settings: dict[str, Any],
    as_json: bool,
) -> None:
    """Measure FILE on DEVICE: its latency, memory and energy; no table is needed."""
    with progress("measuring", 100) as update:
        found = latprof.bench(
            file,
            device=device,
            runtime=runtime,
            threads=threads,
            on_event=lambda event: update(100 * event.fraction),
            **settings,
        )
    if as_json:
        print_json(found.to_dict())
        return
    timing = found.timing
    click.echo(
        f"{file}: {format_s(timing.latency_s)} +- {timing.spread:.1%} on {found.target}; fastest "
        f"{format_s(timing.min_s)}, slowest tenth from {format_s(timing.p90_s)}, "
        f"{len(timing.samples_s)} rounds"
    )
    print_usage(found.usage)
    if timing.detail:
        note(f"{timing.status}: {timing.detail}")
