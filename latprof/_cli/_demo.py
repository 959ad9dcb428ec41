"""``latprof demo``: profile, fit, compress and verify on this machine."""

from __future__ import annotations

from pathlib import Path

import click

import latprof
from latprof._cli.shared import json_option, note, print_json, print_run, progress


@click.command("demo")
@click.option("--quick", is_flag=True, help="Fewer images, shapes and epochs: 4 to 9 minutes.")
@click.option(
    "--data", type=click.Path(path_type=Path), help="Folder with FashionMNIST's four .gz files."
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Run folder; a run that was stopped goes on in it.  [default: latprof-demo]",
)
@json_option
def command(quick: bool, data: Path | None, out: Path | None, as_json: bool) -> None:
    """Profile this CPU, fit, compress MobileNetV3-Small to 60% of its latency, verify."""
    from latprof.pipeline import prepare_for_training

    prepare_for_training("the demo")
    result = latprof.demo(quick=quick, data=data, out=out, bar=progress, on_stage=note)
    if as_json:
        print_json(result.to_dict())
        return
    print_run(result)
    for pair, error in result.agreement.items():
        click.echo(f"{pair} agree to {error:.1e} relative on 1,000 test images")
    click.echo(f"files and plots: {Path(result.compressed.file).parent}")
