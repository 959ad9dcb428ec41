"""``latprof inspect``: a model's ops and channel groups."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import latprof
from latprof._cli.shared import (
    MODEL_HELP,
    json_option,
    model_options,
    note,
    print_json,
    print_table,
    working,
)
from latprof.vocabulary import format_count, format_s
from latprof.workloads import Workload

if TYPE_CHECKING:
    from latprof.compress import Graph, Layers
    from latprof.compress.space import Unreached

#: Layers that one line names.
_MOST_NAMES = 4


@click.command("inspect", epilog=MODEL_HELP)
@click.argument("model")
@click.option("--table", type=click.Path(path_type=Path), help="Latency table to read.")
@click.option("--exclude", multiple=True, help="Name or pattern of modules to leave whole.")
@click.option("--ops", "every_op", is_flag=True, help="List every op, not one line per kind.")
@click.option("--layers", "every_layer", is_flag=True, help="List layers also without a table.")
@click.option("--verbose", is_flag=True, help="Name what reads each group, and groups of layers.")
@model_options
@json_option
def command(
    model: str,
    table: Path | None,
    exclude: tuple[str, ...],
    every_op: bool,
    every_layer: bool,
    verbose: bool,
    inputs: dict[str, Any],
    trust: bool,
    as_json: bool,
) -> None:
    """MODEL's ops and channel groups; what is prunable, and why not."""
    with working(f"reading {model}"):
        found = latprof.inspect(model, table=table, exclude=exclude, inputs=inputs, trust=trust)
    for warning in found.warnings:
        note(f"warning: {warning}")
    if as_json:
        print_json(found.to_dict())
        return
    graph = found.graph
    figures = f"{format_count(found.macs)} MACs"
    if graph is not None:
        stats = graph.stats()
        figures = f"{graph.name}, {format_count(stats.params)} parameters, {figures}"
    total = f", {format_s(sum(found.latencies_s))} as ops alone" if found.latencies_s else ""
    click.echo(f"{model}: {figures}, {format_count(found.activation_bytes)}B of activations{total}")
    if graph is not None:
        _show_groups(graph, verbose)
        blocks = ", ".join(found.residual_blocks) or "none"
        click.echo(f"residual blocks that Depth may drop: {blocks}")
    if found.layers is not None and (every_layer or found.latencies_s):
        _show_layers(found.layers, verbose)
    if found.graph is not None:
        _show_unreached(found.unreached, verbose)
    _show_ops(found.workloads, found.latencies_s, every_op)


def _show_groups(graph: Graph, verbose: bool) -> None:
    """One line per group: what it holds, and what keeps it."""
    rows = []
    for row, group in zip(graph.rows(), graph.groups, strict=True):
        verdict = "yes" if row.prunable else f"stays: {row.reason}"
        if verbose and row.prunable:
            verdict = f"read by {', '.join(part.name for part in group.readers)}"
        shares = [f"{row.macs_share:.1%}", f"{row.params_share:.1%}"]
        rows.append([row.name, str(row.units), str(row.channels), *shares, verdict])
    units = sum(g.size for g in graph.prunable)
    print_table(
        f"{len(graph.groups)} channel groups, {len(graph.prunable)} prunable with {units} units",
        ["group", "units", "channels", "of MACs", "of parameters", "prunable"],
        rows,
        text=(0, 5),
    )


def _show_layers(layers: Layers, verbose: bool) -> None:
    """One line per layer: its shape, what it takes, and where it lies."""
    from latprof.compress.space import LAYER_COLUMNS

    shown = len(LAYER_COLUMNS) if verbose else len(LAYER_COLUMNS) - 2
    print_table(
        f"{len(layers)} layers",
        LAYER_COLUMNS[:shown],
        [row[:shown] for row in layers.rows()],
        text=(0, 1, 2, *range(5, shown)),
    )


def _show_unreached(unreached: Sequence[Unreached], verbose: bool) -> None:
    """One line per block and reason, with the layers that it leaves."""
    layers: dict[tuple[str, str], list[str]] = defaultdict(list)
    for each in unreached:
        layers[each.block, each.reason].append(each.layer)
    for (block, reason), names in layers.items():
        most = len(names) if verbose else _MOST_NAMES
        more = f" and {len(names) - most} more" if len(names) > most else ""
        click.echo(f"{block} leaves {', '.join(names[:most])}{more}: {reason}")


def _show_ops(workloads: Sequence[Workload], latencies_s: Sequence[float], every_op: bool) -> None:
    known = latencies_s or [0.0] * len(workloads)
    columns = ["op", "count", "MACs", *(["latency"] if latencies_s else [])]
    if every_op:
        lines = [
            [str(w), "1", format_count(w.macs), format_s(s)]
            for w, s in zip(workloads, known, strict=True)
        ]
        print_table(f"{len(workloads)} ops", columns, [line[: len(columns)] for line in lines])
        return
    kinds: dict[str, list[tuple[Workload, float]]] = defaultdict(list)
    for workload, latency_s in zip(workloads, known, strict=True):
        kinds[workload.label].append((workload, latency_s))
    rows = [
        [
            kind,
            str(len(ops)),
            format_count(sum(w.macs for w, _ in ops)),
            format_s(sum(s for _, s in ops)),
        ]
        for kind, ops in sorted(kinds.items())
    ]
    print_table(f"{len(workloads)} ops", columns, [row[: len(columns)] for row in rows])
