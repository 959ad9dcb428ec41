"""``latprof profile``: measure a model's workloads on a device into a table."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from latprof._cli._output import json_option, note, print_json, progress
from latprof._cli._settings import settings_options
from latprof.vocabulary import format_s

if TYPE_CHECKING:
    from latprof.tables import LatencyTable
    from latprof.workloads import Workload


@click.command("profile")
@click.argument("devices", nargs=-1, required=True, metavar="DEVICE...")
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
    "--batch",
    "batches",
    default="1",
    show_default=True,
    help="Inputs at once; several, as in 1,64, share the shapes and the table.",
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
    devices: tuple[str, ...],
    runtime: str,
    threads: int,
    model: str,
    out: Path,
    batches: str,
    n_shapes: int,
    method: str,
    target_error: float | None,
    seed: int,
    settings: dict[str, Any],
    as_json: bool,
) -> None:
    """Measure MODEL's ops on DEVICE into a latency table.

    DEVICE is local, cuda:0, ssh:HOST, ssh:HOST/cuda:0 or adb:SERIAL.
    The same command goes on where it was stopped, and adds to a table of the same target. Several
    DEVICEs of one target share the shapes; each other target gets a table named after its device.
    """
    from latprof.devices import open_device
    from latprof.pipeline import profile_into, profile_many_into

    sizes = _batches(batches)
    if len(devices) > 1:
        if target_error is not None:
            raise click.UsageError("--target-error takes one DEVICE")
        with contextlib.ExitStack() as stack:
            several = []
            for spec in devices:
                one = open_device(spec, runtime=runtime, threads=threads, **settings)
                several.append((spec, stack.enter_context(one)))
                note(f"target of {spec}: {several[-1][1].target}")
            workloads = _workloads(model, sizes)
            update = stack.enter_context(progress("measuring shapes", 100))
            tables = profile_many_into(
                out,
                several,
                workloads,
                n_shapes=n_shapes,
                method=method,
                seed=seed,
                on_event=lambda event: update(
                    100 * event.fraction, description=f"measuring shapes {event.done}/{event.total}"
                ),
            )
        found = [_summary(path, table) for path, table in tables.items()]
        if as_json:
            print_json({"tables": [fields for fields, _ in found]})
        else:
            click.echo("\n".join(line for _, line in found))
        return
    with open_device(devices[0], runtime=runtime, threads=threads, **settings) as opened:
        note(f"target: {opened.target}")
        workloads = _workloads(model, sizes)
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
    fields, line = _summary(out, table)
    if as_json:
        print_json(fields)
    else:
        click.echo(line)


def _batches(text: str) -> list[int]:
    try:
        sizes = [int(part) for part in text.split(",")]
    except ValueError as exc:
        raise click.UsageError(f"--batch is {text!r}; expected whole numbers, as in 1,64") from exc
    return list(dict.fromkeys(sizes))


def _workloads(model: str, batches: list[int]) -> list[Workload]:
    from latprof.models import at_batch, model_workloads

    workloads = model_workloads(model)
    return [w for batch in batches for w in at_batch(workloads, batch)]


def _summary(path: Path, table: LatencyTable) -> tuple[dict[str, Any], str]:
    """A table in JSON's words, and in people's."""
    flags = {
        s: sum(m.status == s for m in table.measurements)
        for s in ("ok", "noisy", "throttled", "failed")
    }
    target = table.target.to_dict()
    fields = {"table": str(path), "target": target, "shapes": len(table), "status": flags}
    total_s = sum(m.latency_s for m in table.usable)
    counted = ", ".join(f"{n} {s}" for s, n in flags.items() if n)
    line = f"{path}: {len(table)} shapes of {table.target} ({counted}), {format_s(total_s)} in sum"
    return fields, line
