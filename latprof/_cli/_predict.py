"""``latprof predict``: a model's latency from a table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

import latprof
from latprof._cli.shared import (
    MODEL_HELP,
    json_option,
    model_options,
    note,
    print_json,
    print_table,
    working,
)
from latprof.tables import family_text
from latprof.vocabulary import format_count, format_rate, format_s


@click.command("predict", epilog=MODEL_HELP)
@click.argument("model")
@click.option(
    "--table", type=click.Path(path_type=Path), required=True, help="Table of the target."
)
@click.option(
    "--method",
    default="auto",
    show_default=True,
    help="Surrogate: auto, tile, linear, pchip or cubic; see latprof fit --help.",
)
@click.option(
    "--batch", type=click.IntRange(1), default=1, show_default=True, help="Inputs at once."
)
@click.option(
    "--seq", type=click.IntRange(1), help="Tokens of each input, of a model that takes tokens."
)
@model_options
@json_option
def command(
    model: str,
    table: Path,
    method: str,
    batch: int,
    seq: int | None,
    inputs: dict[str, Any],
    trust: bool,
    as_json: bool,
) -> None:
    """MODEL's latency on the target of a table, with its 90% interval."""
    with working(f"reading {model} and fitting {table}"):
        found = latprof.predict(
            model, table, method=method, batch=batch, seq=seq, inputs=inputs, trust=trust
        )
    for warning in found.warnings:
        note(f"warning: {warning}")
    if found.note:
        note(found.note)
    if as_json:
        print_json(found.to_dict())
        return
    click.echo(f"{model} on {found.target}")
    click.echo(
        f"{format_s(found.latency_s)} (90% interval {format_s(found.lower_s)} to "
        f"{format_s(found.upper_s)}), {len(found.ops)} ops, {format_count(found.macs)} MACs, "
        f"{format_rate(found.throughput_per_s)} inputs per second"
    )
    slowest = sorted(found.ops, key=lambda op: -op.latency_s)[:10]
    rows = [
        [
            f"{family_text(op.workload)} {op.workload.channels[0]} -> {op.workload.channels[1]}",
            format_s(op.latency_s),
            format_count(op.workload.macs),
        ]
        for op in slowest
    ]
    print_table("slowest ops, each alone", ["op", "latency", "MACs"], rows)
