"""``latprof predict``: a model's latency from a table."""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np

from latprof._cli._output import json_option, note, print_json, print_table
from latprof.vocabulary import format_count, format_s


@click.command("predict")
@click.argument("model")
@click.option(
    "--table", "path", type=click.Path(path_type=Path), required=True, help="Table of the target."
)
@click.option(
    "--method",
    default="auto",
    show_default=True,
    help="Surrogate: auto, tile, linear, pchip or cubic.",
)
@click.option("--batch", default=1, show_default=True, help="Inputs at once.")
@json_option
def command(model: str, path: Path, method: str, batch: int, as_json: bool) -> None:
    """MODEL's latency on the target of a table, with its 90% interval."""
    from latprof.models import at_batch, model_workloads
    from latprof.surrogate import fit_file
    from latprof.tables import family_text

    surrogate = fit_file(path, method=method)
    workloads = at_batch(model_workloads(model), batch)
    whole = surrogate.predict_model(workloads)
    each = surrogate.predict(workloads)
    for warning in whole.warnings:
        note(f"warning: {warning}")
    if whole.note:
        note(whole.note)
    latency_s, lower_s, upper_s = (
        float(np.sum(v)) for v in (whole.latency_s, whole.lower_s, whole.upper_s)
    )
    if as_json:
        ops = [
            {"workload": w.to_dict(), "latency_s": float(s)}
            for w, s in zip(workloads, each.latency_s, strict=True)
        ]
        figures = {"latency_s": latency_s, "lower_s": lower_s, "upper_s": upper_s,
                   "calibrated": whole.calibrated, "batch": batch,
                   "throughput_per_s": batch / latency_s}  # fmt: skip
        print_json({**figures, "target": surrogate.target.to_dict(), "ops": ops})
        return
    click.echo(f"{model} on {surrogate.target}")
    click.echo(
        f"{format_s(latency_s)} +- {format_s((upper_s - lower_s) / 2)} (90% interval "
        f"{format_s(lower_s)} to {format_s(upper_s)}), {len(workloads)} ops, "
        f"{format_count(sum(w.macs for w in workloads))} MACs, "
        f"{batch / latency_s:.4g} inputs per second"
    )
    slowest = sorted(zip(each.latency_s, workloads, strict=True), key=lambda p: -p[0])[:10]
    rows = [
        [
            f"{family_text(w)} {w.channels[0]} -> {w.channels[1]}",
            format_s(float(s)),
            format_count(w.macs),
        ]
        for s, w in slowest
    ]
    print_table("slowest ops, each alone", ["op", "latency", "MACs"], rows)
