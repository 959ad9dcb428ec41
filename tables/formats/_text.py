"""CSV and JSON: lossless both ways, for people and for other tools."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

from latprof.errors import LatprofError, TableError
from latprof.tables._rows import WORKLOAD_COLUMNS, from_rows, header, to_rows
from latprof.tables._table import LatencyTable
from latprof.vocabulary import replace_file

__all__ = [
    "parse_field",
    "read_csv",
    "read_json",
    "read_text",
    "records",
    "whole_number",
    "write_csv",
    "write_json",
]

_COLUMNS = ("row", "name", *WORKLOAD_COLUMNS, "latency_s", "status", "detail", "measured_at",
            "samples_s", "slowdown", "workloads")  # fmt: skip
_JSON_COLUMNS = ("samples_s", "slowdown")
_OLD_JSON_COLUMNS = ("pace",)  # slowdown's name up to version 2
_CSV_MARK = "# latprof "
_BOOLEANS = {"true": True, "false": False}


def write_json(table: LatencyTable, path: Path) -> Path:
    """One object: ``format``, ``target``, ``provenance``, ``measurements``, ``models``."""
    data = {
        **header(table),
        "measurements": [m.to_dict() for m in table.measurements],
        "models": [m.to_dict() for m in table.models],
    }
    for theirs, donor in zip(data.get("donors", ()), table.donors, strict=True):
        theirs["measurements"] = [m.to_dict() for m in donor.measurements]
    return replace_file(path, (json.dumps(data, indent=1) + "\n").encode())


def read_json(path: Path) -> LatencyTable:
    """Inverse of write_json. Raises TableError where the file is not one of ours."""
    try:
        data = json.loads(read_text(path))
        ops = [{**m, **m["workload"], "row": "op"} for m in data["measurements"]]
        theirs = [
            {**m, **m["workload"], "row": "donor", "name": number}
            for number, donor in enumerate(data.get("donors", ()))
            for m in donor["measurements"]
        ]
        models = [
            {**m, "workloads": json.dumps(m["workloads"]), "row": "model"} for m in data["models"]
        ]
    except (ValueError, KeyError, TypeError, RecursionError) as exc:
        raise TableError(f"{path}: not a latency table in JSON: {exc!r}") from exc
    return LatencyTable.of(from_rows(data, [*ops, *models, *theirs], str(path)))


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
    lines = records(path, rest, ",", first_line=2)
    columns = lines[0][1] if lines else []
    if len(set(columns)) != len(columns) or not {"row", "samples_s"} <= set(columns):
        raise TableError(f"{path}: line 2 is no header of a latency table: {columns!r:.120}")
    rows = []
    for number, values in lines[1:]:
        if len(values) != len(columns):
            raise TableError(
                f"{path}: line {number} has {len(values)} fields and the header {len(columns)}"
            )
        try:
            rows.append(_parse(dict(zip(columns, values, strict=True))))
        except (ValueError, KeyError, TypeError, RecursionError, LatprofError) as exc:
            raise TableError(f"{path}: line {number} is no measurement: {exc}") from exc
    try:
        head = json.loads(first.removeprefix(_CSV_MARK))
    except (ValueError, RecursionError) as exc:
        raise TableError(f"{path}: line 1 is not '{_CSV_MARK}' and JSON: {exc}") from exc
    return LatencyTable.of(from_rows(head, rows, str(path)))


def _parse(row: dict[str, str]) -> dict[str, Any]:
    parsed: dict[str, Any] = {
        name: parse_field(name, row[name]) for name in WORKLOAD_COLUMNS if row.get(name)
    }
    rest = {name: value for name, value in row.items() if name not in WORKLOAD_COLUMNS}
    encoded = (name for name in (*_JSON_COLUMNS, *_OLD_JSON_COLUMNS) if name in row)
    return parsed | rest | {name: json.loads(row[name]) for name in encoded}


def records(
    path: Path, text: str, separator: str, first_line: int = 1
) -> list[tuple[int, list[str]]]:
    """(line number, fields) of each record that is not blank; a quoted field may hold line ends.

    Raises:
        TableError: naming the line, where quotes do not close.
    """
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    found = []
    begins = first_line
    limit = csv.field_size_limit(len(text) + 1)  # the ops of a large model are one field
    try:
        for fields in reader:
            if any(f.strip() for f in fields):
                found.append((begins, fields))
            begins = first_line + reader.line_num
    except csv.Error as exc:
        raise TableError(f"{path}: line {begins} is no CSV: {exc}") from exc
    finally:
        csv.field_size_limit(limit)
    return found


def parse_field(name: str, text: str) -> int | str | bool:
    """A workload's field out of its text. Raises TableError naming it."""
    kind = WORKLOAD_COLUMNS[name]
    if kind is int:
        return whole_number(name, text)
    if kind is bool:
        if text.lower() not in _BOOLEANS:
            raise TableError(f"{name} is {text[:40]!r}; expected True or False")
        return _BOOLEANS[text.lower()]
    return text


def whole_number(name: str, text: str) -> int:
    """Its digits as a number. Raises TableError naming the field."""
    if not re.fullmatch(r"[0-9]{1,18}", text.strip(), re.ASCII):
        raise TableError(f"{name} is {text[:40]!r}; expected a whole number")
    return int(text)


def read_text(path: Path) -> str:
    """The whole file, without the byte order mark that some editors put first. Line ends stay as
    they are. Raises TableError where it is missing or no text."""
    try:
        return path.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as exc:
        raise TableError(f"{path}: cannot be read as text: {exc}") from exc
