"""``latprof profile``: measure a model's workloads on a device into a table."""

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
    progress,
    settings_options,
    whole_numbers,
)
from latprof.devices import Event


@click.command("profile", epilog=MODEL_HELP)
@click.argument("devices", nargs=-1, required=True, metavar="DEVICE...")
@click.option(
    "--runtime",
    default="onnxruntime",
    show_default=True,
    help="onnxruntime, tflite, torch or cuda.",
)
@click.option(
    "--threads",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Threads of the runtime.",
)
@click.option("--for", "model", required=True, metavar="MODEL", help="Whose shapes to measure.")
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
    "--seq",
    default="",
    metavar="TOKENS",
    help="Tokens of each input, of a model that takes tokens; several, as in 1,32,128, share the "
    "shapes and the table.",
)
@click.option(
    "--decode",
    default="",
    metavar="TOKENS",
    help="Of a causal language model, also the step that makes the last of so many tokens, the "
    "others in a cache; several, as in 128,512.",
)
@click.option(
    "--shapes",
    "--budget-shapes",
    type=click.IntRange(1),
    help="Shapes to measure at most; by default 200, or 10 with --from.",
)
@click.option(
    "--from",
    "donors",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="TABLE",
    help="Table of another device, runtime or number of threads, whose fit chooses the shapes and "
    "is moved to what they take here; several may be given.",
)
@click.option(
    "--method",
    type=click.Choice(("spread", "paper", "grid", "adaptive")),
    default="spread",
    show_default=True,
    help="How shapes are chosen. spread: evenly over the widths that pruning can leave; paper: "
    "the plan of Nasery et al.; grid: every width on a grid; adaptive: where the fit knows least.",
)
@click.option(
    "--target-error",
    type=float,
    help="With --method adaptive: stop at this held-out error, as in 0.03.",
)
@click.option(
    "--theta",
    type=click.IntRange(1),
    help="With --method paper: how many of the largest counts of each axis are all measured.",
)
@click.option(
    "--bits",
    default="",
    metavar="BITS",
    help="Of 2, 4, 8, as in 4,8: measure linear layers with weights of so many bits too "
    "(ONNX Runtime and LiteRT on a CPU).",
)
@click.option(
    "--pattern",
    "patterns",
    multiple=True,
    help="2:4: measure linear layers with two of four weights too (torch, NVIDIA GPUs from Ampere "
    "on, precision=float16).",
)
@click.option("--seed", default=0, show_default=True, help="Of the choice of shapes.")
@model_options
@settings_options
@json_option
def command(
    devices: tuple[str, ...],
    runtime: str,
    threads: int,
    model: str,
    out: Path,
    batches: str,
    seq: str,
    decode: str,
    shapes: int | None,
    donors: tuple[Path, ...],
    method: str,
    target_error: float | None,
    theta: int | None,
    bits: str,
    patterns: tuple[str, ...],
    seed: int,
    inputs: dict[str, Any],
    trust: bool,
    settings: dict[str, Any],
    as_json: bool,
) -> None:
    """Measure MODEL's ops on DEVICE into a latency table.

    DEVICE is local, cuda:0, ssh:HOST, ssh:HOST/cuda:0 or adb:SERIAL.
    The same command goes on where it was stopped, and adds to a table of the same target. Several
    DEVICEs of one target share the shapes; each other target gets a table named after its device.
    """
    conditions = ""

    def on_event(event: Event) -> None:
        nonlocal conditions
        conditions = str(event.conditions)
        update(100 * event.fraction, description=f"measuring {event.total} shapes")

    with progress("measuring shapes", 100) as update:
        results = latprof.profile(
            devices,
            model,
            out,
            runtime=runtime,
            threads=threads,
            batch=whole_numbers("--batch", batches, "1,64"),
            seq=whole_numbers("--seq", seq, "1,32,128") if seq else (),
            decode=whole_numbers("--decode", decode, "128,512") if decode else (),
            bits=whole_numbers("--bits", bits, "4,8") if bits else (),
            patterns=patterns,
            shapes=shapes,
            donors=donors,
            method=method,
            target_error=target_error,
            seed=seed,
            theta=theta,
            inputs=inputs,
            trust=trust,
            on_note=note,
            on_target=lambda device, target: note(f"target of {device}: {target}"),
            on_event=on_event,
            **settings,
        )
    if conditions:
        note(conditions)
    if as_json:
        found = [result.to_dict() for result in results]
        print_json(found[0] if len(devices) == 1 else {"tables": found})
    else:
        click.echo("\n".join(map(str, results)))
    if any(result.mostly_failed for result in results):
        note("most shapes could not be measured; their rows say why: latprof table check TABLE")
        raise click.exceptions.Exit(1)
