"""``latprof zoo``: latency tables by name."""

from __future__ import annotations

from pathlib import Path

import click

from latprof._cli.shared import json_option, note, print_json, print_table
from latprof.zoo import ZooTable, add_table, get_table, list_tables

_folder = click.option(
    "--folder",
    type=click.Path(path_type=Path),
    help="Of tables.  [default: $LATPROF_TABLES, or tables in the cache]",
)
_force = click.option("--force", is_flag=True, help="Replace what is there.")


@click.group("zoo")
def command() -> None:
    """Latency tables by name: of a folder, of the package latprof-tables, or of an address.

    Nothing is downloaded unless an address is given to get.
    """


@command.command("list")
@_folder
@json_option
def list_(folder: Path | None, as_json: bool) -> None:
    """Every table that has a name, with its target, license and source."""
    found = list_tables(folder)
    if as_json:
        print_json({"tables": [table.to_dict() for table in found]})
        return
    if not found:
        note("no table has a name yet; latprof zoo add FILE adds one")
        return
    print_table(
        "",
        ("name", "target", "rows", "license", "source", "from"),
        [
            (t.name, str(t.table.target), str(len(t.table)), t.license, t.source, t.place)
            for t in found
        ],
    )


@command.command("get")
@click.argument("name", metavar="NAME|URL")
@click.option("-o", "--out", type=click.Path(path_type=Path), help="[default: NAME.parquet]")
@click.option("--sha256", help="What the file's checksum must be.")
@_folder
@_force
@json_option
def get(
    name: str,
    out: Path | None,
    sha256: str | None,
    folder: Path | None,
    force: bool,
    as_json: bool,
) -> None:
    """Copy the table NAME to a file, or download it from URL."""
    _shown(get_table(name, out, folder=folder, sha256=sha256, force=force), as_json)


@command.command("add")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--license", required=True, help="Under which it may be used: CC-BY-4.0.")
@click.option("--source", required=True, help="Who measured it, and where it was published.")
@click.option("--name", help="[default: FILE without its suffix]")
@_folder
@_force
@json_option
def add(
    file: Path,
    license: str,
    source: str,
    name: str | None,
    folder: Path | None,
    force: bool,
    as_json: bool,
) -> None:
    """Put a copy of the table FILE under a name."""
    found = add_table(file, license=license, source=source, name=name, folder=folder, force=force)
    _shown(found, as_json)


def _shown(found: ZooTable, as_json: bool) -> None:
    if as_json:
        print_json(found.to_dict())
        return
    click.echo(f"{found.file}: {len(found.table)} rows of {found.table.target}")
    click.echo(f"license {found.license}; source: {found.source}")
    click.echo(f"sha256 {found.sha256}")
