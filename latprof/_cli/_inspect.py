"""``latprof inspect``: a model's ops and channel groups."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from latprof._cli._output import json_option, note, print_json, print_table
from latprof.vocabulary import format_count, format_s
from latprof.workloads import Workload

if TYPE_CHECKING:
    from latprof.compress import Graph


@click.command("inspect")
@click.argument("model")
@click.option("--table", "path", type=click.Path(path_type=Path), help="Latency table to read.")
@click.option("--exclude", multiple=True, help="Name or pattern of modules to leave whole.")
@click.option("--ops", "every_op", is_flag=True, help="List every op, not one line per kind.")
@json_option
def command(
    model: str, path: Path | None, exclude: tuple[str, ...], every_op: bool, as_json: bool
) -> None:
    """MODEL's workloads and channel groups; what is prunable, and why not."""
    from latprof.compress import trace, workloads_of_file
    from latprof.models import load_model

    graph, blocks = None, list[str]()
    if Path(model).suffix in (".onnx", ".tflite"):
        workloads = workloads_of_file(Path(model))
    else:
        from latprof.compress.space import residual_blocks  # torch, which files do without

        module, example_inputs = load_model(model)[:2]
        graph = trace(module, example_inputs, exclude=exclude)
        workloads, blocks = graph.workloads(), residual_blocks(module, graph)
    latencies_s = _latencies_s(path, workloads)
    if as_json:
        print_json(_figures(model, graph, workloads, latencies_s) | {"residual_blocks": blocks})
        return
    figures = f"{format_count(sum(w.macs for w in workloads))} MACs"
    if graph is not None:
        stats = graph.stats()
        figures = f"{graph.name}, {format_count(stats.params)} parameters, {figures}"
    activations = sum(w.activation_bytes for w in workloads)
    total = f", {format_s(sum(latencies_s))} as ops alone" if latencies_s else ""
    click.echo(f"{model}: {figures}, {format_count(activations)}B of activations{total}")
    if graph is not None:
        _show_groups(graph)
        click.echo(f"residual blocks that Depth may drop: {', '.join(blocks) or 'none'}")
    _show_ops(workloads, latencies_s, every_op)
    if graph is not None and graph.unmeasured:
        named = ", ".join(f"{count} {name}" for name, count in graph.unmeasured.items())
        note(f"without a workload, so in no prediction: {named}")


def _latencies_s(path: Path | None, workloads: list[Workload]) -> list[float]:
    if path is None:
        return []
    from latprof.surrogate import fit_file

    predicted = fit_file(path).predict(workloads)
    for warning in predicted.warnings:
        note(f"warning: {warning}")
    return [float(s) for s in predicted.latency_s]


def _show_groups(graph: Graph) -> None:
    rows = []
    for g in graph.groups:
        readers = ", ".join(part.name for part in g.readers[:2])
        more = f" and {len(g.readers) - 2} more" if len(g.readers) > 2 else ""
        verdict = f"read by {readers}{more}" if g.prunable else f"[dim]stays: {g.reason}[/dim]"
        rows.append([g.name, str(g.size), str(g.unit), verdict])
    units = sum(g.size for g in graph.prunable)
    print_table(
        f"{len(graph.groups)} channel groups, {len(graph.prunable)} prunable with {units} units",
        ["group", "units", "channels each", "prunable"],
        rows,
        text=(0, 3),
    )


def _show_ops(workloads: list[Workload], latencies_s: list[float], every_op: bool) -> None:
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


def _figures(
    model: str, graph: Graph | None, workloads: list[Workload], latencies_s: list[float]
) -> dict[str, Any]:
    ops: list[dict[str, Any]] = [{"workload": w.to_dict(), "macs": w.macs} for w in workloads]
    for op, latency_s in zip(ops, latencies_s, strict=False):
        op["latency_s"] = latency_s
    figures: dict[str, Any] = {
        "model": model,
        "macs": sum(w.macs for w in workloads),
        "activation_bytes": sum(w.activation_bytes for w in workloads),
        "ops": ops,
    }
    if latencies_s:
        figures["latency_s"] = sum(latencies_s)
    if graph is not None:
        figures |= {
            "class": graph.name,
            "params": graph.stats().params,
            "unmeasured": graph.unmeasured,
            "groups": [
                {
                    "name": g.name,
                    "units": g.size,
                    "channels_each": g.unit,
                    "minimum": g.minimum,
                    "divisor": g.divisor,
                    "prunable": g.prunable,
                    "reason": g.reason,
                    "readers": [str(part) for part in g.readers],
                    "writers": [str(part) for part in g.writers],
                }
                for g in graph.groups
            ],
        }
    return figures
