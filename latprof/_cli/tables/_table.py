"""``latprof table``: look into a table, exchange it, check it, compare and merge."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import click
import numpy as np

from latprof._cli.shared import json_option, note, print_json, print_table
from latprof.errors import UsageError
from latprof.pipeline import table as tables
from latprof.tables import family_text
from latprof.vocabulary import Measurement, Target, format_s
from latprof.workloads import DTYPE_BYTES

#: Formats that say what was measured, or were published for one target.
_TARGET_KNOWN = ("auto", "aiconfigurator", "neusight")

#: Of a table with more families than this, `show` lists the kinds of op instead.
_MAX_FAMILIES = 60

_FILE = click.Path(path_type=Path)
_force = click.option("--force", is_flag=True, help="Replace a file that is there.")


@click.group("table")
def command() -> None:
    """Show, export, import, check, compare and merge latency tables."""


@command.command("show")
@click.argument("table", type=_FILE)
@click.option("--rows", is_flag=True, help="Every row, not only the families.")
@json_option
def show(table: Path, rows: bool, as_json: bool) -> None:
    """What TABLE holds: its target, and each family of ops with its ranges (where there are very
    many, each kind of op)."""
    found = tables.show(table)
    if as_json:
        print_json(found.contents())
        return
    loaded = found.table
    note(str(loaded.target))
    if rows:
        print_table(
            str(table),
            ("shape", "latency", "spread", "status"),
            [
                (
                    f"{family_text(m.workload)} {m.workload.channels}",
                    format_s(m.latency_s) if m.samples_s else "-",
                    f"+-{m.spread:.1%}" if m.samples_s else "-",
                    m.status,
                )
                for m in loaded.measurements
            ],
        )
        return
    families: dict[str, list[Measurement]] = {}
    for m in loaded.usable:
        families.setdefault(m.workload.family, []).append(m)
    flags = Counter(m.status for m in loaded.measurements if m.status != "ok")
    counted = "".join(f", {n} {status}" for status, n in flags.items())
    if flags:
        note(f"what the flagged rows mean, and what to do: latprof table check {table}")
    names = {family: family_text(group[0].workload) for family, group in families.items()}
    first = "family"
    if len(families) > _MAX_FAMILIES:
        first = "kind of op"
        kinds = Counter(group[0].workload.label for group in families.values())
        names = {label: f"{label} ({n} families)" for label, n in kinds.items()}
        families = {
            label: [m for m in loaded.usable if m.workload.label == label] for label in kinds
        }
    print_table(
        f"{table}: {len(loaded)} rows{counted}; {len(loaded.models)} whole models",
        (first, "rows", "c_in", "c_out", "latency"),
        [
            (
                names[name],
                str(len(group)),
                *(_range([m.workload.channels[axis] for m in group]) for axis in (0, 1)),
                f"{format_s(min(m.latency_s for m in group))} to "
                f"{format_s(max(m.latency_s for m in group))}",
            )
            for name, group in families.items()
        ],
    )


@command.command("export")
@click.argument("table", type=_FILE)
@click.option(
    "-o", "--out", type=_FILE, help="FILE.csv, .json (lossless) or .npz.  [default: TABLE.csv]"
)
@_force
@json_option
def export(table: Path, out: Path | None, force: bool, as_json: bool) -> None:
    """Write TABLE as CSV, JSON (both lossless, and import reads them) or NPZ dense grids."""
    _written(tables.export(table, out, force=force), as_json)


@command.command("import")
@click.argument("source", type=_FILE)
@click.option("-o", "--out", type=_FILE, help="Table to write.  [default: SOURCE.parquet]")
@click.option("--format", "format_", type=click.Choice(tables.FORMATS), default="auto",
              show_default=True,
              help="auto: what `table export` wrote; csv: plain, with a header; "
              "ofa: YAML of blocks.")  # fmt: skip
@click.option("--device", help="Hardware it was measured on, where the file names none.")
@click.option("--runtime", help="Runtime it was measured with, where the file names none.")
@click.option("--runtime-version", default="unknown", show_default=True)
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True)
@click.option("--fused/--alone", default=False, help="tinynas-trt: which rows; default alone.")
@click.option("--dtype", type=click.Choice(tuple(DTYPE_BYTES)),
              help="Of rows, or of a file, that does not name it; "
              "aiconfigurator: only these rows.")  # fmt: skip
@click.option("--column", "columns", multiple=True, metavar="FIELD=COLUMN",
              help="csv: the column of a field, as m=rows or latency_ms=time; FIELD==VALUE is one "
              "value for all rows, as kind==matmul. Other columns are not read.")  # fmt: skip
@_force
@json_option
def import_(
    source: Path,
    out: Path | None,
    format_: str,
    device: str | None,
    runtime: str | None,
    runtime_version: str,
    threads: int,
    fused: bool,
    dtype: str | None,
    columns: tuple[str, ...],
    force: bool,
    as_json: bool,
) -> None:
    """Read SOURCE, a table in another format, into a latency table."""
    target = None
    if format_ == "tinynas-trt":
        device, runtime = device or "NVIDIA V100", runtime or "tensorrt"
    if format_ not in _TARGET_KNOWN and (device is None or runtime is None):
        raise UsageError(
            f"--format {format_} says nothing of the target; add --device NAME --runtime NAME"
        )
    if (device is None) != (runtime is None):
        raise UsageError("a target has both; add --device NAME --runtime NAME")
    if device is not None and runtime is not None:
        target = Target(device, runtime, runtime_version, threads)
    found = tables.import_(
        source,
        out,
        format=format_,
        target=target,
        fused=fused,
        dtype=dtype,
        columns=dict(map(_column, columns)) or None,
        force=force,
    )
    notes = list(found.notes)
    if not notes and (duplicates := found.table.duplicates):
        first, count = next(iter(duplicates.items()))
        notes.append(
            f"{len(duplicates)} shape(s) have more than one row, as {family_text(first)} "
            f"{first.channels} has {count}; a fit reads the last of each"
        )
    for line in notes:
        note(f"warning: {line}")
    _written(found, as_json)


@command.command("check")
@click.argument("table", type=_FILE)
@click.option("--like", type=_FILE, help="A table whose target this one must be of.")
@json_option
def check(table: Path, like: Path | None, as_json: bool) -> None:
    """Duplicates, impossible or doubtful values, flags, gaps. Exit code 1 where data is wrong."""
    found = tables.check(table, like=like)
    if as_json:
        print_json(found.to_dict())
    else:
        for f in found.findings:
            click.echo(f"{f.severity}: {f.kind}: {f.message}")
        counts = Counter(f.severity for f in found.findings)
        counted = ", ".join(f"{n} {severity}(s)" for severity, n in counts.items())
        note(f"{table}: {counted or 'nothing wrong'}")
    if not found.ok:
        raise click.exceptions.Exit(1)


@command.command("diff")
@click.argument("a", type=_FILE)
@click.argument("b", type=_FILE)
@click.option("--plot", type=_FILE, help="Write a picture (PNG, SVG or PDF).")
@json_option
def diff(a: Path, b: Path, plot: Path | None, as_json: bool) -> None:
    """B against A on the shapes both hold; the targets may differ."""
    found = tables.diff(a, b, plot=plot)
    if as_json:
        print_json(found.to_dict())
        return
    compared, quantiles, close = found.compared, found.quantiles, found.within_10pct
    for name, (x, y) in compared.settings.items():
        click.echo(f"the targets differ in {name}: {x} and {y}")
    click.echo(
        f"{len(compared.ratios)} shapes in both, {compared.only_a} only in {a}, "
        f"{compared.only_b} only in {b}"
    )
    click.echo(
        f"{b.name} takes {quantiles['p50']:.2f} times as long as {a.name} (median); "
        f"{quantiles['p10']:.2f} to {quantiles['p90']:.2f} times for 8 in 10 shapes, "
        f"{quantiles['p0']:.2f} to {quantiles['p100']:.2f} for all; {close:.0%} within 10%"
    )
    worst = np.argsort(-np.abs(np.log(compared.ratios)))[:5]
    print_table(
        "furthest apart",
        ("shape", a.name, b.name, "ratio"),
        [
            (
                f"{family_text(compared.workloads[i])} {compared.workloads[i].channels}",
                format_s(compared.a_s[i]),
                format_s(compared.b_s[i]),
                f"{compared.ratios[i]:.2f}x",
            )
            for i in worst
        ],
    )


@command.command("merge")
@click.argument("tables_", type=_FILE, nargs=-1, required=True, metavar="TABLES...")
@click.option("-o", "--out", type=_FILE, required=True, help="Table to write.")
@_force
@json_option
def merge(tables_: tuple[Path, ...], out: Path, force: bool, as_json: bool) -> None:
    """Put TABLES of one target together; of a shape in several, the newest usable row stays."""
    _written(tables.merge(tables_, out, force=force), as_json)


def _column(text: str) -> tuple[str, str]:
    field, equals, column = text.partition("=")
    if not (field and equals and column):
        raise UsageError(f"--column is {text!r}; expected FIELD=COLUMN, or FIELD==VALUE")
    return field, column


def _written(found: tables.TableFile, as_json: bool) -> None:
    if as_json:
        print_json(found.to_dict())
        return
    models = f" and {len(found.table.models)} whole models" if found.table.models else ""
    note(f"{len(found.table)} rows{models} of {found.table.target} written to {found.file}")


def _range(counts: list[int]) -> str:
    return f"{min(counts)} to {max(counts)}" if len(set(counts)) > 1 else str(counts[0])
