"""Plain CSV: one latency per shape, under a header that names the columns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from latprof.errors import TableError
from latprof.tables._rows import WORKLOAD_COLUMNS
from latprof.tables._table import LatencyTable
from latprof.tables.formats._published import at_line, published_table, require_dtype
from latprof.tables.formats._text import parse_field, read_text, records
from latprof.vocabulary import Measurement, Target
from latprof.workloads import workload_from_dict

__all__ = ["import_plain_csv"]

_UNITS = {"latency_s": 1.0, "latency_ms": 1e-3, "latency_us": 1e-6}
_SEPARATORS = (",", ";", "\t")


def import_plain_csv(
    path: Path,
    target: Target,
    *,
    dtype: str = "float32",
    columns: Mapping[str, str] | None = None,
) -> LatencyTable:
    """CSV with a header: ``kind``, the kind's fields (those left out or empty take their
    defaults), and one of ``latency_s``, ``latency_ms``, ``latency_us``.

        kind,h,w,c_in,c_out,kernel,stride,latency_us
        conv2d,14,14,64,128,1,1,16.5

    Fields are separated by commas, semicolons or tabs, as the header is; where it is not commas,
    numbers may have decimal commas. The target's precision becomes the rows' dtype where they
    have one in common.

    Args:
        dtype: of rows that name none.
        columns: for a file with another header: our name -> the file's (``{"m": "rows",
            "latency_ms": "time"}``), or ``=`` and one value for all rows (``{"kind": "=matmul"}``).
            Columns that are not named in it are not read.

    Raises:
        TableError: naming the line, or the columns.
    """
    require_dtype(dtype)
    text = read_text(path)
    first = text.lstrip("\r\n").splitlines()[0] if text.strip() else ""
    separator = max(_SEPARATORS, key=first.count)
    lines = records(path, text, separator)
    header = [name.strip() for name in lines[0][1]] if lines else []
    fixed = {name: v[1:] for name, v in (columns or {}).items() if v.startswith("=")}
    ours = header if columns is None else _renamed(path, header, columns, fixed)
    unit = _unit(path, [*filter(None, ours), *fixed], separator)

    def measurement(row: dict[str, str]) -> Measurement:
        fields: dict[str, object] = {"dtype": dtype}
        for name, value in row.items():
            if name in WORKLOAD_COLUMNS and value:
                fields[name] = parse_field(name, value)
        seconds = _number(unit, row[unit], separator) * _UNITS[unit]
        return Measurement(workload=workload_from_dict(fields), samples_s=((seconds,),))

    rows = []
    for number, values in lines[1:]:
        if len(values) != len(header):
            hint = "; a decimal comma needs semicolons between fields" * (
                separator == "," and len(values) > len(header)
            )
            raise TableError(
                f"{path}: line {number} has {len(values)} fields and the header {len(header)}{hint}"
            )
        row = fixed | {name: v.strip() for name, v in zip(ours, values, strict=True) if name}
        rows.append((number, at_line(path, number, measurement, row)))
    return published_table(path, target, rows)


def _renamed(
    path: Path, header: list[str], columns: Mapping[str, str], fixed: Mapping[str, str]
) -> list[str]:
    """Our name of each of the file's columns; empty where it is not read."""
    names = {theirs: ours for ours, theirs in columns.items() if ours not in fixed}
    missing = [theirs for theirs in names if theirs not in header]
    if missing or len(names) + len(fixed) < len(columns):
        raise TableError(
            f"{path}: the header is {', '.join(header)[:200]!r}; expected the columns "
            f"{', '.join(missing or names)}, each for one field"
        )
    return [names.get(name, "") for name in header]


def _unit(path: Path, columns: list[str], separator: str) -> str:
    """The column of latencies, in a header that is right."""
    twice = [name for name, count in Counter(columns).items() if count > 1]
    if twice:
        raise TableError(f"{path}: the header has the column {twice[0]!r} {columns.count(twice[0])}"
                         " times; leave one of them")  # fmt: skip
    units = [u for u in _UNITS if u in columns]
    unknown = [c for c in columns if c not in WORKLOAD_COLUMNS and c not in _UNITS]
    if len(units) != 1 or "kind" not in columns or unknown:
        raise TableError(
            f"{path}: the header is {separator.join(columns)[:200]!r}; expected kind, exactly one "
            f"of {', '.join(_UNITS)}, and fields out of {', '.join(list(WORKLOAD_COLUMNS)[1:])}"
        )
    return units[0]


def _number(name: str, text: str, separator: str) -> float:
    if separator != "," and text.count(",") == 1 and "." not in text:
        text = text.replace(",", ".")
    try:
        return float(text)
    except ValueError:
        raise TableError(f"{name} is {text[:40]!r}; expected a number") from None
