"""``latprof devices``."""

from __future__ import annotations

import dataclasses

import click
from rich.console import Console
from rich.table import Table

from latprof._cli._output import json_option, print_json
from latprof.devices import DeviceInfo, list_devices

__all__ = ["command"]


@click.command("devices")
@click.argument("hosts", nargs=-1, metavar="[ssh:HOST]...")
@json_option
def command(hosts: tuple[str, ...], as_json: bool) -> None:
    """What is attached, and what is missing to use it.

    This machine, its GPUs and the phones that adb sees are found; ssh hosts are asked where named.
    """
    found = list_devices(hosts)
    if as_json:
        print_json({"devices": [_fields(info) for info in found]})
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("device", "what it is", "usable runtimes", "missing"):
        table.add_column(heading, overflow="fold")
    for info in found:
        missing = [f"{runtime}: {why}" for runtime, why in info.missing]
        table.add_row(
            info.name, info.description or "-", ", ".join(info.usable) or "-", "\n".join(missing)
        )
    Console().print(table)


def _fields(info: DeviceInfo) -> dict[str, object]:
    return {**dataclasses.asdict(info), "missing": dict(info.missing)}
