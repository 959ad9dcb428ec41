"""``latprof profile``: measure a model's workloads on a device into a table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from latprof._cli._output import json_option, note, print_json, progress
from latprof._cli._settings import settings_options
from latprof._units import format_s


@click.command("profile")
@click.argument("device")
@click.option(
    "--runtime",
    default="onnxruntime",
    show_default=True,
    help="onnxruntime, tflite, torch or cuda.",
)
@click.option("--threads", default=1, show_default=True, help="Threads of the runtime.")
@click.option("--for", "model", required=True, help="MODEL whose shapes to measure.")
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    help="Table to write or continue.",
)
@click.option(
    "--budget-shapes", "n_shapes", default=200, show_default=True, help="Shapes to measure at most."
)
@click.option(
    "--method",
    default="spread",
    show_default=True,
    help="How shapes are chosen: spread, paper, grid, or adaptive: by what is measured so far.",
)
@click.option(
    "--target-error",
    type=float,
    help="With --method adaptive: stop at this held-out error, as in 0.03.",
)
@click.option("--seed", default=0, show_default=True)
@settings_options
@json_option
def command(
    device: str,
    runtime: str,
    threads: int,
    model: str,
    out: Path,
    n_shapes: int,
    method: str,
    target_error: float | None,
    seed: int,
    settings: dict[str, Any],
    as_json: bool,
) -> None:
    """Measure MODEL's ops on DEVICE (local, ssh:HOST, adb:SERIAL) into a latency table.

    The same command goes on where it was stopped, and adds to a table of the same target.
    """
    from latprof._models import model_workloads
    from latprof._profiling import profile_into
    from latprof.devices import open_device

    with open_device(device, runtime=runtime, threads=threads, **settings) as opened:
        note(f"target: {opened.target}")
        workloads = model_workloads(model)
        with progress("measuring shapes", 100) as update:
            table = profile_into(
                out,
                opened,
                workloads,
                n_shapes=n_shapes,
                method=method,
                target_error=target_error,
                seed=seed,
                on_event=lambda event: update(
                    100 * event.fraction, description=f"measuring shapes {event.done}/{event.total}"
                ),
            )
    flags = {
        s: sum(m.status == s for m in table.measurements)
        for s in ("ok", "noisy", "disturbed", "failed")
    }
    if as_json:
        target = table.target.to_dict()
        print_json({"table": str(out), "target": target, "shapes": len(table), "status": flags})
        return
    total_s = sum(m.latency_s for m in table.usable)
    counted = ", ".join(f"{n} {s}" for s, n in flags.items() if n)
    click.echo(
        f"{out}: {len(table)} shapes of {table.target} ({counted}), {format_s(total_s)} in sum"
    )
