"""``latprof sweep RUN.toml --grid KEY=VALUE,VALUE``: several runs of one file."""

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
from latprof.report import metric_text, progress_text
from latprof.vocabulary import format_s


@click.command("sweep")
@click.argument("run", type=click.Path(path_type=Path), metavar="RUN.toml")
@click.option(
    "--grid",
    multiple=True,
    required=True,
    metavar="KEY=VALUE,VALUE",
    help="Values of a key, such as budget=80%,60% or masks.epochs=2,4; may be repeated.",
)
@click.option("--storage", metavar="URL", help="A database of Optuna in place of a file in out.")
@settings_options
@json_option
def command(
    run: Path, grid: tuple[str, ...], storage: str | None, settings: dict[str, Any], as_json: bool
) -> None:
    """Run RUN.toml once for each combination of values; the same command goes on after a stop.

    Each run gets a folder of its own in the file's out. Start the command several times, also on
    machines that share the folder, and each run is done by one of them.
    """
    from latprof.pipeline import prepare_for_training

    prepare_for_training("latprof sweep")
    with progress("training", 1.0) as update:
        found = latprof.sweep(
            run,
            grid,
            storage=storage,
            on_progress=lambda row: update(row["share"], description=progress_text(row)),
            on_stage=note,
            **settings,
        )
    if as_json:
        print_json(found.to_dict())
        return
    rows = []
    for each in found.runs:
        network = each.result.compressed
        values = ", ".join(f"{key}={value}" for key, value in each.values.items())
        metric = metric_text(each.result.metric, network.accuracy)
        met = "met" if each.result.met else "missed"
        rows.append([values, metric, format_s(network.latency_s), met, network.file])
    metric = found.runs[0].result.metric
    print_table("", ("run", metric, "measured", "budget", "file"), rows, text=(0, 3, 4))
