"""``latprof compress RUN.toml``: train a model to a budget without a loop of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

import latprof
from latprof._cli.shared import (
    json_option,
    note,
    print_json,
    print_run,
    progress,
    settings_options,
    working,
)
from latprof.report import progress_text


@click.command("compress")
@click.argument("run", type=click.Path(path_type=Path), metavar="RUN.toml")
@click.option(
    "--trail",
    type=click.IntRange(0),
    is_flag=False,
    flag_value=4,
    metavar="[N]",
    help="Save N (4) smaller and smaller networks on the way to the budget, each measured.",
)
@click.option("--check", is_flag=True, help="Try everything but training and measuring.")
@click.option("--tensorboard", is_flag=True, help="Write scalars for TensorBoard too.")
@settings_options
@json_option
def command(
    run: Path,
    check: bool,
    trail: int | None,
    tensorboard: bool,
    settings: dict[str, Any],
    as_json: bool,
) -> None:
    """Train a model to a budget as RUN.toml says, or search the best that keeps its accuracy; the
    same command goes on after a stop.

    docs/reference lists every key of RUN.toml. --set and --benchmark-model go before its
    [device_settings].
    """
    from latprof.pipeline import check_run, prepare_for_training

    prepare_for_training("latprof compress")
    if check:
        with working(f"trying {run}"):
            found = check_run(run)
        click.echo(f"{run}: {found}")
        return
    with progress("training", 1.0) as update:
        result = latprof.compress(
            run,
            trail=trail,
            tensorboard=tensorboard,
            on_progress=lambda row: update(
                row["share"], description=progress_text(row), left_s=row["left_s"]
            ),
            on_stage=note,
            **settings,
        )
    if as_json:
        print_json(result.to_dict())
    else:
        print_run(result)
