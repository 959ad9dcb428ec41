"""``latprof report``: one self-contained HTML page of a run folder."""

from __future__ import annotations

from pathlib import Path

import click

import latprof
from latprof._cli.shared import json_option, print_json, working


@click.command("report")
@click.argument("folder", type=click.Path(path_type=Path))
@json_option
def command(folder: Path, as_json: bool) -> None:
    """Write FOLDER/report.html of a run that ``demo`` or ``compress`` left in FOLDER."""
    with working(f"drawing {folder}"):
        found = latprof.report(folder)
    if as_json:
        print_json(found.to_dict())
    else:
        click.echo(str(found.path))
