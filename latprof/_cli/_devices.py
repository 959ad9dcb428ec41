"""``latprof devices``."""

from __future__ import annotations

import click

import latprof
from latprof._cli.shared import json_option, print_json, print_table

__all__ = ["command"]


@click.command("devices")
@click.argument("hosts", nargs=-1, metavar="[ssh:HOST]...")
@json_option
def command(hosts: tuple[str, ...], as_json: bool) -> None:
    """What is attached, and what is missing to use it.

    This machine, its GPUs and the phones that adb sees are found; ssh hosts are asked where named.
    """
    found = latprof.devices(hosts)
    if as_json:
        print_json(found.to_dict())
        return
    rows = [
        [
            info.name,
            info.description or "-",
            ", ".join(info.usable) or "-",
            "\n".join(f"{runtime}: {why}" for runtime, why in info.missing),
        ]
        for info in found
    ]
    columns = ("device", "what it is", "usable runtimes", "missing")
    print_table("", columns, rows, text=(0, 1, 2, 3))
