"""``latprof demo``: the whole road on this machine."""

from __future__ import annotations

from pathlib import Path

import click

from latprof._cli._output import json_option, note, print_figures, print_json, progress
from latprof.report import NAMES


@click.command("demo")
@click.option("--quick", is_flag=True, help="Fewer images, shapes and epochs: some 4 minutes.")
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
    from latprof._demo._road import FULL, QUICK, run
    from latprof.pipeline import keep_freed_memory
    from latprof.vocabulary import require

    require("torch", extra="train", why="the demo")
    keep_freed_memory()
    folder = out or Path("latprof-demo-quick" if quick else "latprof-demo")
    result = run(QUICK if quick else FULL, folder, data, progress, note)
    if as_json:
        print_json(result)
        return
    print_figures(result, NAMES)
    for what, error in result["agreement"].items():
        click.echo(
            f"{what.replace('_', ' and ')} agree to {error:.1e} relative on 1,000 test images"
        )
    click.echo(f"files and plots: {folder}")
