"""``latprof init``: a RUN.toml to start from."""

from __future__ import annotations

from pathlib import Path

import click

import latprof
from latprof._cli.shared import MODEL_HELP, json_option, print_json


@click.command("init", epilog=MODEL_HELP)
@click.argument("model")
@click.option(
    "--data",
    required=True,
    metavar="CALLABLE",
    help="package.module:callable or file.py:callable that returns (batches, (inputs, labels)).",
)
@click.option(
    "--table", type=click.Path(path_type=Path), required=True, help="Latency table of the device."
)
@click.option("--budget", default="60%", show_default=True, help="As in 5 ms, 60% or macs=50%.")
@click.option("--device", default="local", show_default=True, help="Where files are measured.")
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    default="run.toml",
    show_default=True,
    help="File to write.",
)
@click.option("--force", is_flag=True, help="Replace a file that is there.")
@json_option
def command(
    model: str,
    data: str,
    table: Path,
    budget: str,
    device: str,
    out: Path,
    force: bool,
    as_json: bool,
) -> None:
    """Write a RUN.toml with comments for MODEL and its data."""
    found = latprof.init(model, data, table, budget=budget, device=device, out=out, force=force)
    if as_json:
        print_json(found.to_dict())
    else:
        click.echo(f"{found.path}; try it with: latprof compress {found.path} --check")
