"""``latprof.table``: look into tables, exchange them, check them, compare and merge.

Each command of ``latprof table`` is a function here, with the same arguments.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from latprof.errors import UsageError
from latprof.tables import (
    Finding,
    LatencyTable,
    TableDiff,
    import_aiconfigurator,
    import_neusight,
    import_nn_meter,
    import_notes,
    import_ofa,
    import_plain_csv,
    import_tinynas_trt,
    plot_diff,
    read_csv,
    read_json,
    write_csv,
    write_json,
    write_npz,
)
from latprof.tables import check as check_table
from latprof.tables import diff as diff_tables
from latprof.vocabulary import Target

__all__ = [
    "FORMATS",
    "CheckResult",
    "DiffResult",
    "TableFile",
    "check",
    "diff",
    "export",
    "import_",
    "merge",
    "show",
]

FORMATS = ("auto", "aiconfigurator", "csv", "neusight", "nn-meter", "ofa", "tinynas-trt")
_WRITERS: dict[str, Callable[[LatencyTable, Path], Path]] = {
    ".csv": write_csv,
    ".json": write_json,
    ".npz": write_npz,
}
_READERS: dict[str, Callable[[Path], LatencyTable]] = {".csv": read_csv, ".json": read_json}


@dataclass(frozen=True)
class TableFile:
    """A table and the file it was read from or written to."""

    file: Path
    table: LatencyTable

    @property
    def notes(self) -> tuple[str, ...]:
        """What the import left out, found impossible or doubled, with lines; one text each."""
        return tuple(import_notes(self.table))

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; what ``--json`` prints where a file was written."""
        return {
            "file": str(self.file),
            "rows": len(self.table),
            "models": len(self.table.models),
            "duplicates": len(self.table.duplicates),
            "notes": list(self.notes),
            "target": self.table.target.to_dict(),
        }

    def contents(self) -> dict[str, Any]:
        """JSON-ready: every row's figures; what ``table show --json`` prints."""
        frame = self.table.to_frame()
        return {
            "target": self.table.target.to_dict(),
            "provenance": dict(self.table.provenance),
            "measurements": frame.astype(object).where(frame.notna(), None).to_dict("records"),
            "models": [
                {
                    "name": m.name,
                    "status": m.status,
                    "latency_s": m.latency_s if m.samples_s else None,
                }
                for m in self.table.models
            ],
        }


@dataclass(frozen=True)
class CheckResult:
    """What is wrong or doubtful in a table."""

    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """Whether no finding is an error."""
        return not any(f.severity == "error" for f in self.findings)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; what ``--json`` prints."""
        return {"ok": self.ok, "findings": [vars(f) for f in self.findings]}


@dataclass(frozen=True)
class DiffResult:
    """Table B against table A on the shapes that both hold."""

    compared: TableDiff

    @property
    def quantiles(self) -> dict[str, float]:
        """Of the ratios B / A: ``p0``, ``p10``, ``p50``, ``p90``, ``p100``."""
        ratios = self.compared.ratios
        return {f"p{q}": float(np.percentile(ratios, q)) for q in (0, 10, 50, 90, 100)}

    @property
    def within_10pct(self) -> float:
        """Share of the shapes on which the tables are within 10% of each other."""
        return float((np.abs(self.compared.ratios - 1) <= 0.10).mean())

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; what ``--json`` prints."""
        compared = self.compared
        return {
            "shapes": len(compared.ratios),
            "only_a": compared.only_a,
            "only_b": compared.only_b,
            "ratio": self.quantiles,
            "within_10pct": self.within_10pct,
            "target": {k: {"a": x, "b": y} for k, (x, y) in compared.settings.items()},
        }


def show(table: str | Path) -> TableFile:
    """The table of a file.

    Example:
        >>> latprof.table.show("local.parquet").table.target  # doctest: +SKIP
    """
    return TableFile(Path(table), LatencyTable.load(table))


def export(table: str | Path, out: str | Path | None = None, *, force: bool = False) -> TableFile:
    """Write a table as CSV or JSON (both lossless, and ``import_`` reads them), or as NPZ grids.

    Args:
        out: FILE.csv, .json or .npz; by default the table's own name with .csv.
        force: replace a file that is there.

    Raises:
        UsageError: another suffix, or the file is there.
    """
    path = Path(out) if out is not None else Path(table).with_suffix(".csv")
    writer = _WRITERS.get(path.suffix)
    if writer is None:
        raise UsageError(f"the file is {path}; expected a name that ends in {', '.join(_WRITERS)}")
    loaded = LatencyTable.load(table)
    require_free(path, force)
    return TableFile(writer(loaded, path), loaded)


def import_(
    source: str | Path,
    out: str | Path | None = None,
    *,
    format: str = "auto",
    target: Target | None = None,
    fused: bool = False,
    dtype: str | None = None,
    columns: Mapping[str, str] | None = None,
    force: bool = False,
) -> TableFile:
    """Read a table in another format and write it as a latency table.

    Args:
        out: table to write; by default the source's own name with .parquet.
        format: one of FORMATS: ``auto`` is what ``export`` wrote, ``csv`` is plain with a header.
        target: what it was measured on; for ``tinynas-trt`` instead of an NVIDIA V100 with
            TensorRT, for ``aiconfigurator`` and ``neusight`` instead of what the file says.
        fused: of ``tinynas-trt``: the rows with fused activation.
        dtype: of rows, or of a file, that does not name it; of ``aiconfigurator``: only rows of it.
        columns: of ``csv``: our field -> the file's column, or ``=value`` for all rows, as
            ``{"kind": "=matmul", "m": "rows", "k": "inner", "n": "cols", "latency_ms": "time"}``.
        force: replace a file that is there.

    Raises:
        TableError: the source is not of that format. UsageError: a target is missing, or the
            file is there.
    """
    path = Path(source)
    written = Path(out) if out is not None else path.with_suffix(".parquet")
    require_free(written, force)
    table = _read(path, format, target, fused, dtype, columns)
    return TableFile(table.save(written), table)


def check(table: str | Path, *, like: str | Path | None = None) -> CheckResult:
    """Duplicates, impossible or doubtful values, flags, gaps.

    Args:
        like: a table whose target this one must be of.
    """
    expected = LatencyTable.load(like).target if like is not None else None
    return CheckResult(tuple(check_table(LatencyTable.load(table), target=expected)))


def diff(a: str | Path, b: str | Path, *, plot: str | Path | None = None) -> DiffResult:
    """Table ``b`` against ``a`` on the shapes that both hold; the targets may differ.

    Args:
        plot: picture to write, PNG, SVG or PDF.
    """
    compared = diff_tables(LatencyTable.load(a), LatencyTable.load(b))
    if plot is not None:
        plot_diff(compared, (Path(a).stem, Path(b).stem), Path(plot))
    return DiffResult(compared)


def merge(tables: Sequence[str | Path], out: str | Path, *, force: bool = False) -> TableFile:
    """Put tables of one target together; of a shape in several, the newest usable row stays.

    Args:
        out: table to write; one of ``tables`` may be replaced by it without ``force``.

    Raises:
        TargetMismatchError: the tables are of different targets.
    """
    if not tables:
        raise UsageError("no table to merge; expected at least one")
    merged = LatencyTable.load(tables[0]).with_measurements([])  # one row per shape
    for other in tables[1:]:
        merged = merged.merge(LatencyTable.load(other))
    path = Path(out)
    require_free(path, force or path in map(Path, tables))
    return TableFile(merged.save(path), merged)


def require_free(path: Path, force: bool) -> None:
    """Raise UsageError where a file would be replaced that nobody said to replace."""
    if path.exists() and not force:
        raise UsageError(
            f"{path} is there already; choose another name, or replace it with --force"
        )


def _read(
    path: Path,
    format: str,
    target: Target | None,
    fused: bool,
    dtype: str | None,
    columns: Mapping[str, str] | None,
) -> LatencyTable:
    if format not in FORMATS:
        raise UsageError(f"format is {format!r}; expected one of {', '.join(FORMATS)}")
    if columns is not None and format != "csv":
        raise UsageError(f"columns are named for a csv; the format is {format}")
    if format == "auto":
        if path.suffix not in _READERS:
            raise UsageError(
                f"{path}: format not known by its name; say --format {', '.join(FORMATS[1:-1])} "
                f"or {FORMATS[-1]}"
            )
        return _READERS[path.suffix](path)
    if format == "tinynas-trt":  # published for one card and one runtime
        published = target or Target("NVIDIA V100", "tensorrt", "unknown", 1)
        return import_tinynas_trt(path, published, fused=fused, dtype=dtype)
    if format == "aiconfigurator":
        return import_aiconfigurator(path, target, dtype=dtype)
    dtype = dtype or "float32"
    if format == "neusight":
        return import_neusight(path, target, dtype=dtype)
    if target is None:
        raise UsageError(
            f"a file of format {format} says nothing of what it was measured on; add "
            "--device NAME --runtime NAME"
        )
    if format == "nn-meter":
        return import_nn_meter(path, target, dtype=dtype)
    if format == "ofa":
        return import_ofa(path, target, dtype=dtype)
    return import_plain_csv(path, target, dtype=dtype, columns=columns)
