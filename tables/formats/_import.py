"""Tables that others published, as ours: one number per shape becomes one sample."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from latprof.errors import LatprofError, TableError
from latprof.tables._rows import WORKLOAD_COLUMNS
from latprof.tables._table import LatencyTable
from latprof.tables.formats._text import PARSE, read_text
from latprof.vocabulary import Measurement, Target
from latprof.workloads import workload_from_dict

__all__ = ["import_plain_csv", "import_tinynas_trt"]

_UNITS = {"latency_s": 1.0, "latency_ms": 1e-3, "latency_us": 1e-6}

_TINYNAS = re.compile(
    r"\{(?P<type>\w+),(?P<batch>\d+),(?P<c_in>\d+),(?P<h>\d+),(?P<w>\d+),(?P<c_out>\d+),"
    r"(?P<kernel>\d+),(?P<stride>\d+),(?P<fused>[01])\}\s+(?P<ms>\S+)"
)


def import_plain_csv(path: Path, target: Target) -> LatencyTable:
    """CSV with a header: ``kind``, the kind's fields (those left out or empty take their
    defaults), and one of ``latency_s``, ``latency_ms``, ``latency_us``.

        kind,h,w,c_in,c_out,kernel,stride,latency_us
        conv2d,14,14,64,128,1,1,16.5

    Raises:
        TableError: naming the line.
    """
    rows = csv.DictReader(io.StringIO(read_text(path)))
    columns = rows.fieldnames or []
    units = [u for u in _UNITS if u in columns]
    unknown = [c for c in columns if c not in WORKLOAD_COLUMNS and c not in _UNITS]
    if len(units) != 1 or "kind" not in columns or unknown:
        raise TableError(
            f"{path}: the header is {','.join(columns)!r}; expected kind, exactly one of "
            f"{', '.join(_UNITS)}, and fields out of {', '.join(list(WORKLOAD_COLUMNS)[1:])}"
        )

    def measurement(row: dict[str, str]) -> Measurement:
        fields = {k: PARSE[t](row[k]) for k, t in WORKLOAD_COLUMNS.items() if row.get(k)}
        seconds = float(row[units[0]]) * _UNITS[units[0]]
        return Measurement(workload=workload_from_dict(fields), samples_s=((seconds,),))

    lines = [(rows.line_num, row) for row in rows]
    return _table(path, target, [_at_line(path, n, measurement, row) for n, row in lines])


def import_tinynas_trt(path: Path, target: Target, *, fused: bool = False) -> LatencyTable:
    """The convolution latencies published with TinyNAS for TensorRT, one line per shape:

        {type,batch,c_in,h,w,c_out,kernel,stride,fused} milliseconds

    A latency of -1 was not measured and is left out; ``provenance`` counts them. The file holds
    each shape alone and fused with what follows it: two targets, told apart by ``settings``.

    Raises:
        TableError: naming the line.
    """
    kept, missing = [], 0
    for number, line in enumerate(read_text(path).splitlines(), 1):
        if not line.strip():
            continue
        found = _TINYNAS.fullmatch(line.strip())
        if found is None or found["type"] not in ("Regular", "Depthwise"):
            raise TableError(
                f"{path}: line {number} is {line[:60]!r}; expected "
                "{Regular|Depthwise,batch,c_in,h,w,c_out,kernel,stride,fused} ms"
            )
        if (found["fused"] == "1") != fused:
            continue
        if found["ms"] == "-1":
            missing += 1
            continue
        kept.append(_at_line(path, number, _tinynas, found.groupdict()))
    target = replace(target, settings=tuple(sorted({*target.settings, ("fused", str(fused))})))
    return _table(path, target, kept, not_measured=missing)


def _tinynas(row: dict[str, str]) -> Measurement:
    sizes = {k: int(row[k]) for k in ("batch", "c_in", "h", "w", "c_out", "kernel", "stride")}
    groups = sizes["c_in"] if row["type"] == "Depthwise" else 1
    workload = workload_from_dict({"kind": "conv2d", **sizes, "groups": groups})
    return Measurement(workload=workload, samples_s=((float(row["ms"]) * 1e-3,),))


def _at_line(
    path: Path,
    number: int,
    measurement: Callable[[dict[str, str]], Measurement],
    row: dict[str, str],
) -> Measurement:
    try:
        return measurement(row)
    except (LatprofError, KeyError, TypeError, ValueError) as exc:
        raise TableError(f"{path}: line {number} is no measurement: {exc}") from exc


def _table(path: Path, target: Target, rows: list[Measurement], **facts: int) -> LatencyTable:
    if not rows:
        raise TableError(f"{path}: no measured row in it")
    return LatencyTable(target, tuple(rows), provenance={"imported_from": path.name, **facts})
