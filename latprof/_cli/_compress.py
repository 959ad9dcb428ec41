"""``latprof compress RUN.toml``: train a model to a budget without a loop of one's own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from latprof._cli._output import json_option, note, print_figures, print_json, progress
from latprof._cli._settings import settings_options
from latprof.report import progress_text


@click.command("compress")
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--trail",
    type=click.IntRange(0),
    is_flag=False,
    flag_value=4,
    metavar="[N]",
    help="Leave N (4) smaller and smaller networks on the way to the budget, each measured.",
)
@click.option("--tensorboard", is_flag=True, help="Write scalars for TensorBoard too.")
@settings_options
@json_option
def command(
    run: Path, trail: int | None, tensorboard: bool, settings: dict[str, Any], as_json: bool
) -> None:
    """Train a model to a latency budget as RUN.toml says; the same command goes on after a stop.

    See docs/compress.md for every key of RUN.toml. --set and --benchmark-model go before its
    [device_settings].
    """
    from latprof.pipeline import keep_freed_memory
    from latprof.vocabulary import require

    require("torch", extra="train", why="latprof compress")
    keep_freed_memory()
    from latprof.pipeline.run import RunFile, run_file

    config = RunFile.load(run)
    if trail is not None:
        config = replace(config, settings=replace(config.settings, trail=trail))
    with progress("masks") as update:
        result = run_file(
            config,
            on_progress=lambda row: update(row["step"], row["total"], progress_text(row)),
            say=note,
            tensorboard=tensorboard,
            **settings,
        )
    if as_json:
        print_json(result)
        return
    print_figures(result, {"original": "original", "compressed": "compressed"})
    click.echo(f"files: {config.out}")
