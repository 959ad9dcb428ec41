"""CSV and JSON: lossless both ways, for people and for other tools."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from latprof.errors import TableError
from latprof.tables._rows import WORKLOAD_COLUMNS, from_rows, header, to_rows
from latprof.tables._table import LatencyTable
from latprof.vocabulary import replace_file

__all__ = ["PARSE", "read_csv", "read_json", "read_text", "write_csv", "write_json"]

_COLUMNS = ("row", "name", *WORKLOAD_COLUMNS, "latency_s", "status", "detail", "measured_at",
            "samples_s", "slowdown", "workloads")  # fmt: skip
_JSON_COLUMNS = ("samples_s", "slowdown")
_OLD_JSON_COLUMNS = ("pace",)  # slowdown's name up to version 2
_CSV_MARK = "# latprof "
#: column type -> how its text is read.
PARSE: dict[type, Callable[[str], Any]] = {
    int: int,
    str: str,
    bool: {"True": True, "False": False}.__getitem__,
}


def write_json(table: LatencyTable, path: Path) -> Path:
    """One object: ``format``, ``target``, ``provenance``, ``measurements``, ``models``."""
    data = {
        **header(table),
        "measurements": [m.to_dict() for m in table.measurements],
        "models": [m.to_dict() for m in table.models],
    }
    return replace_file(path, (json.dumps(data, indent=1) + "\n").encode())


def read_json(path: Path) -> LatencyTable:
    """Inverse of write_json. Raises TableError where the file is not one of ours."""
    try:
        data = json.loads(read_text(path))
        ops = [{**m, **m["workload"], "row": "op"} for m in data["measurements"]]
        models = [
            {**m, "workloads": json.dumps(m["workloads"]), "row": "model"} for m in data["models"]
        ]
    except (ValueError, KeyError, TypeError) as exc:
        raise TableError(f"{path}: not a latency table in JSON: {exc!r}") from exc
    return LatencyTable.of(from_rows(data, [*ops, *models], str(path)))


def write_csv(table: LatencyTable, path: Path) -> Path:
    """A first line ``# latprof {json}`` with target and provenance, a header, one line per row.

    ``samples_s``, ``slowdown`` and ``workloads`` are JSON; floats are written so that they read
    back exactly.
    """
    out = io.StringIO()
    out.write(_CSV_MARK + json.dumps(header(table)) + "\n")
    writer = csv.DictWriter(out, _COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in to_rows(table):
        writer.writerow({**row, **{name: json.dumps(row[name]) for name in _JSON_COLUMNS}})
    return replace_file(path, out.getvalue().encode())


def read_csv(path: Path) -> LatencyTable:
    """Inverse of write_csv. Raises TableError where the file is not one of ours."""
    first, _, rest = read_text(path).partition("\n")
    if not first.startswith(_CSV_MARK):
        raise TableError(
            f"{path}: the first line is {first[:40]!r}; expected '{_CSV_MARK}{{...}}'; "
            "plain CSV comes in with: latprof table import --format csv"
        )
    try:
        head = json.loads(first.removeprefix(_CSV_MARK))
        rows = [_parse(row) for row in csv.DictReader(io.StringIO(rest))]
    except (ValueError, KeyError, TypeError) as exc:
        raise TableError(f"{path}: not a latency table in CSV: {exc!r}") from exc
    return LatencyTable.of(from_rows(head, rows, str(path)))


def _parse(row: dict[str, str]) -> dict[str, Any]:
    parsed: dict[str, Any] = {
        name: PARSE[type_](row[name]) if row[name] else None
        for name, type_ in WORKLOAD_COLUMNS.items()
    }
    rest = {name: row[name] for name in row if name not in WORKLOAD_COLUMNS}
    return (
        parsed
        | rest
        | {
            name: json.loads(row[name])
            for name in (*_JSON_COLUMNS, *_OLD_JSON_COLUMNS)
            if name in row
        }
    )


def read_text(path: Path) -> str:
    """The whole file. Raises TableError where it is missing or no text."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise TableError(f"{path}: cannot be read as text: {exc}") from exc
