"""``latprof compress``: train a model to a budget without a loop of one's own."""

from __future__ import annotations

from contextlib import nullcontext
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
@click.argument("run", type=click.Path(path_type=Path), metavar="RUN.toml|FILE")
@click.option(
    "--trail",
    type=click.IntRange(0),
    is_flag=False,
    flag_value=4,
    metavar="[N]",
    help="Save N (4) smaller and smaller networks on the way to the budget, each measured.",
)
@click.option(
    "--finish",
    multiple=True,
    metavar="trail/N",
    help="Fine-tune a network of the trail too, once the run is done; may be repeated.",
)
@click.option("--check", is_flag=True, help="Try everything but training and measuring.")
@click.option(
    "--tracker",
    "trackers",
    multiple=True,
    type=click.Choice(["tensorboard", "wandb", "mlflow"]),
    help="Gets the figures of the training; may be repeated.",
)
@click.option("--tensorboard", is_flag=True, hidden=True, help="As --tracker tensorboard.")
@click.option("--table", type=click.Path(path_type=Path), help="Of a FILE: table of the target.")
@click.option("--device", metavar="DEVICE", help="Of a FILE: where it is measured; local.")
@click.option("--budget", help="Of a FILE: '60%', '5 ms', 'macs=50%'.")
@click.option(
    "--inputs",
    type=click.Path(path_type=Path),
    help="Of a FILE: what it sees in use, without labels: a folder of images, .npz or .npy.",
)
@click.option("--epochs", type=click.IntRange(1), help="Of a FILE: of each of the two phases.")
@click.option("-o", "--out", type=click.Path(path_type=Path), help="Of a FILE: the run folder.")
@settings_options
@json_option
def command(
    run: Path,
    table: Path | None,
    device: str | None,
    budget: str | None,
    inputs: Path | None,
    epochs: int | None,
    out: Path | None,
    check: bool,
    trail: int | None,
    finish: tuple[str, ...],
    trackers: tuple[str, ...],
    tensorboard: bool,
    settings: dict[str, Any],
    as_json: bool,
) -> None:
    """Train a model to a budget as RUN.toml says, or search the best that keeps its accuracy; the
    same command goes on after a stop.

    docs/reference lists every key of RUN.toml. --set and --benchmark-model go before its
    [device_settings].

    A FILE, .onnx or .pt2, is compressed without its training code: it learns to give the file's
    own outputs for --inputs.
    """
    from latprof.pipeline import check_run, prepare_for_training
    from latprof.pipeline.run import is_first

    prepare_for_training("latprof compress")
    asked: dict[str, Any] = {
        "table": table,
        "device": device,
        "budget": budget,
        "inputs": inputs,
        "out": out,
        "epochs": epochs,
    }
    keys = _arguments(run, asked, settings)
    if check:
        with working(f"trying {run}"):
            found = check_run(run, **keys)
        click.echo(f"{run}: {found}")
        return
    bar: Any = progress("training", 1.0) if is_first() else nullcontext(lambda *_, **__: None)
    with bar as update:
        result = latprof.compress(
            run,
            trail=trail,
            finish=finish,
            trackers=(*trackers, *(["tensorboard"] if tensorboard else [])),
            on_progress=lambda row: update(
                row["share"], description=progress_text(row), left_s=row["left_s"]
            ),
            on_stage=note,
            **keys,
        )
    if not is_first():
        return
    if as_json:
        print_json(result.to_dict())
    else:
        print_run(result)


def _arguments(run: Path, asked: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    """Arguments of ``latprof.compress``: of an exported file its keys, of a RUN.toml the settings
    of the device."""
    given = {name: value for name, value in asked.items() if value is not None}
    if run.suffix == ".toml":
        if given:
            raise click.UsageError(f"--{next(iter(given))} is for a FILE; {run} says it itself")
        return settings
    epochs = given.pop("epochs", None)
    phases = {} if epochs is None else {n: {"epochs": epochs} for n in ("masks", "fine_tune")}
    texts = {n: str(v) for n, v in given.items()}
    return {**texts, **phases, "device_settings": settings}
