"""``latprof fit``: a surrogate of a table, its held-out error, its steps and its pictures."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
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
    whole_numbers,
    working,
)
from latprof.errors import FitError
from latprof.pipeline import Fit
from latprof.surrogate import METHODS, DonorWarning, HeldOut


@click.command("fit")
@click.argument("table", type=click.Path(path_type=Path))
@click.option(
    "--method",
    type=click.Choice(METHODS),
    default="auto",
    show_default=True,
    help="Of the surrogate. tile: steps of the hardware's tiles and a smooth rest; gp: a "
    "Gaussian process; blend: the mean of both; linear, pchip, cubic: between grid points; "
    "auto: the one that predicts held-out rows best.",
)
@click.option(
    "--donor",
    "donors",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="TABLE",
    help="Table of another target, whose fit is moved to TABLE's rows where that predicts better; "
    "several may be given. By default those that TABLE was profiled --from.",
)
@click.option("--seed", default=0, show_default=True, help="Of the folds that are held out.")
@click.option("--plots", type=click.Path(path_type=Path), help="Folder to write pictures into.")
@click.option(
    "--calibrate",
    metavar="MODEL",
    help="Measure this MODEL and random-width variants of it whole, into TABLE, so that the fit "
    "knows how its ops add up.",
)
@click.option(
    "--variants",
    type=click.IntRange(0),
    default=12,
    show_default=True,
    help="With --calibrate: how many.",
)
@click.option(
    "--seq",
    default="",
    metavar="TOKENS",
    help="With --calibrate: tokens of each input, as in 16,128, of a model that takes tokens.",
)
@click.option("--device", default="local", show_default=True, help="With --calibrate: where.")
@settings_options
@json_option
def command(
    table: Path,
    method: str,
    donors: tuple[Path, ...],
    seed: int,
    plots: Path | None,
    calibrate: str | None,
    variants: int,
    seq: str,
    device: str,
    settings: dict[str, Any],
    as_json: bool,
) -> None:
    """Fit TABLE by every method and print how each predicts rows it has not seen."""
    if calibrate is not None:
        with progress("measuring whole models") as update:
            latprof.calibrate(
                table,
                calibrate,
                variants=variants,
                seq=whole_numbers("--seq", seq, "16,128") if seq else (),
                device=device,
                seed=seed,
                on_step=lambda done, total: update(done, total),
                **settings,
            )
    with working(f"fitting {table}"), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", DonorWarning)
        found = latprof.fit(table, method=method, donors=donors or None, seed=seed, plots=plots)
    for warning in caught:
        note(f"warning: {warning.message}")
    with working("fitting by every method, to compare them on rows they have not seen"):
        fields = found.to_dict()
    if as_json:
        print_json(fields)
        return
    note(str(found.target))
    _print_methods(found.compared)
    _print_labels(found)
    _print_composition(found)
    for picture in found.plots:
        click.echo(f"picture: {picture}")


def _print_methods(compared: Mapping[str, HeldOut | FitError]) -> None:
    rows = []
    for name, held_out in compared.items():
        if isinstance(held_out, FitError):
            note(f"{name}: {held_out}")
        else:
            rows.append(
                (
                    name,
                    f"{held_out.mape:.1%}",
                    f"{held_out.within_10pct:.0%}",
                    str(len(held_out.rows)),
                )
            )
    print_table("held-out error", ("method", "MAPE", "within 10%", "shapes"), rows)


def _print_labels(surrogate: Fit) -> None:
    rows = []
    for label, fitted in surrogate.labels.items():
        found = surrogate.label_steps(label, surrogate.families)
        steps = ", ".join(f"{axis} {step}" for axis, step in found.items())
        held_out, donor = fitted.held_out, fitted.donor
        rows.append(
            (
                label,
                f"from {donor.difference_from(surrogate.target)}" if donor else fitted.method,
                str(fitted.rows),
                f"{held_out.mape:.1%}" if held_out else "-",
                f"{held_out.within_10pct:.0%}" if held_out else "-",
                steps or "none",
            )
        )
    columns = ("op", "method", "rows", "MAPE", "within 10%", "steps found")
    print_table("by kind of op", columns, rows)


def _print_composition(surrogate: Fit) -> None:
    composition = surrogate.composition
    if not composition.held_out:
        click.echo("whole models: none in the table to learn from how ops add up; see --calibrate")
        return
    click.echo(
        f"whole models: {len(composition.held_out)}, each predicted without it: "
        f"MAPE {composition.mape:.1%} (ops added up: {composition.uncalibrated_mape:.1%})"
    )
    if composition.cache_bytes is not None:
        click.echo(
            f"the near cache keeps {composition.cache_bytes / 1e6:.1f} MB from one call to the "
            "next; networks of more weights and activations load their weights anew"
        )
