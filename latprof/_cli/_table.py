"""``latprof table``: look into a table, exchange it, check it, compare and merge."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import click
import numpy as np

from latprof._cli._output import json_option, note, print_json, print_table
from latprof.errors import UsageError
from latprof.tables import (
    LatencyTable,
    check,
    diff,
    family_text,
    import_plain_csv,
    import_tinynas_trt,
    plot_diff,
    read_csv,
    read_json,
    write_csv,
    write_json,
    write_npz,
)
from latprof.vocabulary import Measurement, Target, format_s
from latprof.workloads import DTYPE_BYTES

_FILE = click.Path(path_type=Path)
_WRITERS = {".csv": write_csv, ".json": write_json, ".npz": write_npz}
_FORMATS = ("auto", "csv", "tinynas-trt")
_force = click.option("--force", is_flag=True, help="Replace a file that is there.")


@click.group("table")
def command() -> None:
    """Show, export, import, check, compare and merge latency tables."""


@command.command("show")
@click.argument("table", type=_FILE)
@click.option("--rows", is_flag=True, help="Every row, not only the families.")
@json_option
def show(table: Path, rows: bool, as_json: bool) -> None:
    """What TABLE holds: its target, and each family of ops with its ranges."""
    loaded = LatencyTable.load(table)
    if as_json:
        data = loaded.to_frame()
        records = data.astype(object).where(data.notna(), None).to_dict("records")
        models = [
            {
                "name": m.name,
                "status": m.status,
                "latency_s": m.latency_s if m.samples_s else None,
            }
            for m in loaded.models
        ]
        print_json(
            {
                "target": loaded.target.to_dict(),
                "provenance": dict(loaded.provenance),
                "measurements": records,
                "models": models,
            }
        )
        return
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
    print_table(
        f"{table}: {len(loaded)} rows{counted}; {len(loaded.models)} whole models",
        ("family", "rows", "c_in", "c_out", "latency"),
        [
            (
                family_text(group[0].workload),
                str(len(group)),
                *(_range([m.workload.channels[axis] for m in group]) for axis in (0, 1)),
                f"{format_s(min(m.latency_s for m in group))} to "
                f"{format_s(max(m.latency_s for m in group))}",
            )
            for group in families.values()
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
    out = out or table.with_suffix(".csv")
    writer = _WRITERS.get(out.suffix)
    if writer is None:
        raise UsageError(f"-o is {out}; expected a name that ends in {', '.join(_WRITERS)}")
    _require_free(out, force)
    loaded = LatencyTable.load(table)
    writer(loaded, out)
    if as_json:
        print_json({"file": str(out), "rows": len(loaded)})
    else:
        note(f"{len(loaded)} rows written to {out}")


@command.command("import")
@click.argument("source", type=_FILE)
@click.option("-o", "--out", type=_FILE, help="Table to write.  [default: SOURCE.parquet]")
@click.option("--format", "format_", type=click.Choice(_FORMATS), default="auto", show_default=True,
              help="auto: what `table export` wrote; csv: plain, with a header.")  # fmt: skip
@click.option("--device", help="csv: hardware it was measured on; tinynas-trt: NVIDIA V100.")
@click.option("--runtime", help="csv: runtime it was measured with; tinynas-trt: tensorrt.")
@click.option("--runtime-version", default="unknown", show_default=True)
@click.option("--threads", default=1, show_default=True)
@click.option("--fused/--alone", default=False, help="tinynas-trt: which rows; default alone.")
@click.option("--dtype", type=click.Choice(tuple(DTYPE_BYTES)),
              help="Of rows, or of a tinynas-trt file, that does not name it.")  # fmt: skip
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
    force: bool,
    as_json: bool,
) -> None:
    """Read SOURCE, a table in another format, into a latency table."""
    out = out or source.with_suffix(".parquet")
    _require_free(out, force)
    if format_ == "auto":
        readers = {".csv": read_csv, ".json": read_json}
        if source.suffix not in readers:
            raise UsageError(
                f"{source}: format not known by its name; say --format csv or tinynas-trt"
            )
        table = readers[source.suffix](source)
    elif format_ == "tinynas-trt":  # published for one card and one runtime
        target = Target(device or "NVIDIA V100", runtime or "tensorrt", runtime_version, threads)
        table = import_tinynas_trt(source, target, fused=fused, dtype=dtype)
    else:
        if device is None or runtime is None:
            raise UsageError(
                f"--format {format_} says nothing of the target; add --device NAME --runtime NAME"
            )
        target = Target(device, runtime, runtime_version, threads)
        table = import_plain_csv(source, target, dtype=dtype or "float32")
    table.save(out)
    if duplicates := table.duplicates:
        first, count = next(iter(duplicates.items()))
        note(
            f"warning: {len(duplicates)} shape(s) have more than one row, as {family_text(first)} "
            f"{first.channels} has {count}; a fit reads the last of each"
        )
    if as_json:
        result = {"file": str(out), "rows": len(table), "duplicates": len(duplicates)}
        print_json({**result, "target": table.target.to_dict()})
    else:
        note(f"{len(table)} rows of {table.target} written to {out}")


@command.command("check")
@click.argument("table", type=_FILE)
@click.option("--like", type=_FILE, help="A table whose target this one must be of.")
@json_option
def check_(table: Path, like: Path | None, as_json: bool) -> None:
    """Duplicates, impossible or doubtful values, flags, gaps. Exit code 1 where data is wrong."""
    expected = LatencyTable.load(like).target if like else None
    findings = check(LatencyTable.load(table), target=expected)
    wrong = any(f.severity == "error" for f in findings)
    if as_json:
        print_json({"ok": not wrong, "findings": [vars(f) for f in findings]})
    else:
        for f in findings:
            click.echo(f"{f.severity}: {f.kind}: {f.message}")
        counts = Counter(f.severity for f in findings)
        found = ", ".join(f"{n} {severity}(s)" for severity, n in counts.items())
        note(f"{table}: {found or 'nothing wrong'}")
    if wrong:
        raise click.exceptions.Exit(1)


@command.command("diff")
@click.argument("a", type=_FILE)
@click.argument("b", type=_FILE)
@click.option("--plot", type=_FILE, help="Write a picture (PNG, SVG or PDF).")
@json_option
def diff_(a: Path, b: Path, plot: Path | None, as_json: bool) -> None:
    """B against A on the shapes both hold; the targets may differ."""
    compared = diff(LatencyTable.load(a), LatencyTable.load(b))
    quantiles = {f"p{q}": float(np.percentile(compared.ratios, q)) for q in (0, 10, 50, 90, 100)}
    close = float((np.abs(compared.ratios - 1) <= 0.10).mean())
    if plot:
        plot_diff(compared, (a.stem, b.stem), plot)
    if as_json:
        print_json(
            {
                "shapes": len(compared.ratios),
                "only_a": compared.only_a,
                "only_b": compared.only_b,
                "ratio": quantiles,
                "within_10pct": close,
                "target": {k: {"a": x, "b": y} for k, (x, y) in compared.settings.items()},
            }
        )
        return
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
@click.argument("tables", type=_FILE, nargs=-1, required=True)
@click.option("-o", "--out", type=_FILE, required=True, help="Table to write.")
@_force
@json_option
def merge(tables: tuple[Path, ...], out: Path, force: bool, as_json: bool) -> None:
    """Put TABLES of one target together; of a shape in several, the newest usable row stays."""
    if out not in tables:
        _require_free(out, force)
    merged = LatencyTable.load(tables[0]).with_measurements([])  # one row per shape
    for other in tables[1:]:
        merged = merged.merge(LatencyTable.load(other))
    merged.save(out)
    if as_json:
        print_json({"file": str(out), "rows": len(merged), "models": len(merged.models)})
    else:
        note(f"{len(merged)} rows and {len(merged.models)} whole models written to {out}")


def _require_free(path: Path, force: bool) -> None:
    if path.exists() and not force:
        raise UsageError(f"{path} exists; name another file with -o, or replace it with --force")


def _range(counts: list[int]) -> str:
    return f"{min(counts)} to {max(counts)}" if len(set(counts)) > 1 else str(counts[0])
