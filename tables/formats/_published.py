"""What imports of published tables share: one number per shape becomes one sample."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from latprof.errors import LatprofError, TableError
from latprof.tables._table import LatencyTable
from latprof.tables.formats._collect import Collected
from latprof.vocabulary import Measurement, Target
from latprof.workloads import DTYPE_BYTES

__all__ = ["at_line", "published_table", "require_dtype"]


def at_line(
    path: Path,
    number: int,
    measurement: Callable[[dict[str, str]], Measurement],
    row: dict[str, str],
) -> Measurement:
    """What the line says, or a TableError that names it."""
    try:
        return measurement(row)
    except (LatprofError, KeyError, TypeError, ValueError) as exc:
        raise TableError(f"{path}: line {number} is no measurement: {exc}") from exc


def published_table(
    path: Path, target: Target, rows: list[tuple[int, Measurement]], **facts: int
) -> LatencyTable:
    """The rows as a table; where all are of one type of number, so is the target's precision.

    Args:
        rows: each with its line.
    """
    if not rows:
        raise TableError(f"{path}: no measured row in it")
    found = Collected(path)
    for line, row in rows:
        found.add(line, row.workload, row.latency_s)
    return found.table(target, **facts)


def require_dtype(dtype: str) -> None:
    """Raise TableError where it is no type of number that workloads have."""
    if dtype not in DTYPE_BYTES:
        raise TableError(f"dtype is {dtype!r}; expected one of {', '.join(DTYPE_BYTES)}")
