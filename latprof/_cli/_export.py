"""``latprof export``: write the file to deploy, in float32, packed, or int8."""

from __future__ import annotations

import warnings
from pathlib import Path

import click

import latprof
from latprof._cli.shared import json_option, note, print_json, working
from latprof.vocabulary import format_s


@click.command("export")
@click.argument("model")
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    help="File to write: .onnx or .tflite.",
)
@click.option("--weights", type=click.Path(path_type=Path), help="State dict of MODEL.")
@click.option(
    "--pack", is_flag=True, help="Store each weight in the fewest bytes that give it back exactly."
)
@click.option("--float16", is_flag=True, help="With --pack: round the other weights to float16.")
@click.option(
    "--table",
    type=click.Path(path_type=Path),
    help="With --pack: a table of profile --bits; linear layers whose weights have few bits are "
    "computed in so many where they are faster.",
)
@click.option("--int8", is_flag=True, help="Quantize activations and weights.")
@click.option("--data", help="With --int8: package.module:callable, as in a RUN.toml.")
@click.option(
    "--images", default=128, show_default=True, help="With --int8: inputs to calibrate on."
)
@click.option(
    "--device",
    default="local",
    show_default=True,
    help="With --int8: where the int8 file is timed beside the float32 one.",
)
@click.option(
    "--threads",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Threads of that timing.",
)
@click.option(
    "--trust",
    is_flag=True,
    help="Load a .pt2 file whatever it holds: such a file can run any code.",
)
@json_option
def command(
    model: str,
    out: Path,
    weights: Path | None,
    pack: bool,
    float16: bool,
    table: Path | None,
    int8: bool,
    data: str | None,
    images: int,
    device: str,
    threads: int,
    trust: bool,
    as_json: bool,
) -> None:
    """Write MODEL as a file, proven to compute the same; with --int8, its error is stated.

    What becomes int8 is chosen by measuring on DEVICE. With --pack the file is smaller and as fast:
    ONNX Runtime decodes the weights once, as it loads.
    """
    from latprof.vocabulary import require

    require("torch", extra="train", why="latprof export")
    from latprof.compress import Int8Warning

    with working(f"exporting {model}"), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", Int8Warning)
        result = latprof.export(
            model,
            out=out,
            weights=weights,
            pack=pack,
            float16=float16,
            table=table,
            int8=int8,
            data=data,
            images=images,
            device=device,
            threads=threads,
            trust=trust,
        )
    for warning in caught:
        note(f"warning: {warning.message}")
    if as_json:
        print_json(result.to_dict())
        return
    found = result.int8
    if found is None:
        size = f"{result.path.stat().st_size:,} bytes"
        click.echo(f"{result.path}: computes what {model} computes; {size}")
        return
    assert found.latency_s is not None
    assert found.float_latency_s is not None
    agrees = "" if found.top1_agreement is None else f", top-1 agrees on {found.top1_agreement:.1%}"
    click.echo(
        f"{found.path}: int8 is {found.choice}; {format_s(found.latency_s)} on {device}, float32 "
        f"{format_s(found.float_latency_s)} ({found.float_latency_s / found.latency_s:.2f}x); "
        f"SQNR {found.sqnr_db:.1f} dB{agrees}"
    )
