"""``latprof fit``: a surrogate of a table, its held-out error, its steps and its pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from latprof._cli._output import json_option, note, print_json, print_table, progress
from latprof._cli._settings import settings_options
from latprof.errors import FitError
from latprof.surrogate import METHODS, HeldOut, Surrogate, compare, fit
from latprof.tables import Family, LatencyTable, families_of


@click.command("fit")
@click.argument("table", type=click.Path(path_type=Path))
@click.option("--method", type=click.Choice(METHODS), default="auto", show_default=True)
@click.option("--seed", default=0, show_default=True, help="Of the folds that are held out.")
@click.option("--plots", type=click.Path(path_type=Path), help="Folder to write pictures into.")
@click.option(
    "--calibrate",
    "model",
    help="MODEL: measure it and random-width variants of it whole, into TABLE, so that the fit "
    "knows how its ops add up.",
)
@click.option("--variants", default=12, show_default=True, help="With --calibrate: how many.")
@click.option("--device", default="local", show_default=True, help="With --calibrate: where.")
@settings_options
@json_option
def command(
    table: Path,
    method: str,
    seed: int,
    plots: Path | None,
    model: str | None,
    variants: int,
    device: str,
    settings: dict[str, Any],
    as_json: bool,
) -> None:
    """Fit TABLE by every method and print how each predicts rows it has not seen."""
    loaded = LatencyTable.load(table)
    if model is not None:
        loaded = _calibrated(table, loaded, model, variants, device, settings, seed)
    surrogate = fit(loaded, method=method, seed=seed)
    compared = compare(loaded, seed=seed)
    families = families_of([m.workload for m in loaded.usable])
    pictures: list[Path] = []
    if plots is not None:
        from latprof.surrogate import plot_fit

        pictures = plot_fit(surrogate, loaded, plots)
    if as_json:
        print_json(
            {
                "target": loaded.target.to_dict(),
                "methods": {k: _scores(h) for k, h in compared.items()},
                "labels": {k: _label(surrogate, k, families) for k in surrogate.labels},
                "composition": _composition(surrogate),
                "plots": [str(p) for p in pictures],
            }
        )
        return
    note(str(loaded.target))
    _print_methods(compared)
    _print_labels(surrogate, families)
    _print_composition(surrogate)
    for picture in pictures:
        click.echo(f"picture: {picture}")


def _calibrated(
    path: Path,
    table: LatencyTable,
    model: str,
    variants: int,
    device: str,
    settings: dict[str, Any],
    seed: int,
) -> LatencyTable:
    """The table with whole-model rows of MODEL and its variants, measured where it has none."""
    from latprof.compress import trace
    from latprof.devices import open_target
    from latprof.models import load_model
    from latprof.pipeline import calibrate_into

    module, example_inputs, name = load_model(model)
    graph = trace(module, example_inputs)
    with (
        open_target(device, table.target, **settings) as opened,
        progress("exporting variants") as update,
    ):
        return calibrate_into(
            path,
            opened,
            module,
            graph,
            example_inputs,
            name=name,
            n_variants=variants,
            seed=seed,
            on_step=lambda done, total: update(done, total),
        )


def _scores(held_out: HeldOut | FitError) -> dict[str, Any]:
    if isinstance(held_out, FitError):
        return {"error": str(held_out)}
    return {
        "mape": held_out.mape,
        "within_10pct": held_out.within_10pct,
        "n_train": held_out.n_train,
        "n_test": len(held_out.rows),
    }


def _label(surrogate: Surrogate, label: str, families: list[Family]) -> dict[str, Any]:
    fitted = surrogate.labels[label]
    scores = _scores(fitted.held_out) if fitted.held_out else {}
    steps = surrogate.label_steps(label, families)
    return {"method": fitted.method, "rows": fitted.rows, "steps": steps, **scores}


def _composition(surrogate: Surrogate) -> dict[str, Any] | None:
    composition = surrogate.composition
    if not composition.held_out:
        return None
    return {
        "models": len(composition.held_out),
        "mape": composition.mape,
        "uncalibrated_mape": composition.uncalibrated_mape,
        "factors": dict(composition.factors),
        "cache_bytes": composition.cache_bytes,
        "per_op_s": composition.per_op_s,
        "constant_s": composition.constant_s,
    }


def _print_methods(compared: dict[str, HeldOut | FitError]) -> None:
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


def _print_labels(surrogate: Surrogate, families: list[Family]) -> None:
    rows = []
    for label, fitted in surrogate.labels.items():
        found = surrogate.label_steps(label, families)
        steps = ", ".join(f"{axis} {step}" for axis, step in found.items())
        held_out = fitted.held_out
        rows.append(
            (
                label,
                fitted.method,
                str(fitted.rows),
                f"{held_out.mape:.1%}" if held_out else "-",
                f"{held_out.within_10pct:.0%}" if held_out else "-",
                steps or "none",
            )
        )
    columns = ("op", "method", "rows", "MAPE", "within 10%", "steps found")
    print_table("by kind of op", columns, rows)


def _print_composition(surrogate: Surrogate) -> None:
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
