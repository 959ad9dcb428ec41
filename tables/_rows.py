"""A table as flat rows: the columns that Parquet, CSV and pandas share."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from latprof.errors import LatprofError, TableError
from latprof.tables._data import ModelMeasurement, TableData
from latprof.vocabulary import Measurement, Target, Timing
from latprof.workloads import KINDS, Attention, MatMul

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["FORMAT_VERSION", "WORKLOAD_COLUMNS", "frame", "from_rows", "header", "to_rows"]

# format history
#   1  rows of ops (workload fields as nullable columns) and of whole models (their ops as JSON in
#      `workloads`); samples_s nested by round; target and provenance as JSON in the metadata.
#   2  pace, by round: how many times slower than at its best the device was.
#   3  pace is called slowdown; the status disturbed is called throttled; Parquet's metadata has a
#      checksum of all else.
#   4  weight_bits, of matmuls whose weights alone have few bits; a table without such a row is
#      written as 3, for it holds nothing that version 3 has not.
#   5  rows of donors, which are tables of other targets: their row is ``donor``, and their name is
#      the donor's place in the header's ``donors``; only of tables that have some.
#   6  attention as one op; only of tables that have some.
#   7  pattern, of matmuls whose weights are in a pattern of zeros; only of tables that have some.
FORMAT_VERSION = 7

#: The largest size that a field of a workload may have: the most that 32 bits hold.
_MAX_SIZE = 2**31 - 1

#: column -> type, over every kind of workload; a row leaves the others' columns empty.
WORKLOAD_COLUMNS: dict[str, type] = {"kind": str} | {
    f.name: {"int": int, "str": str, "bool": bool}[str(f.type)]
    for kind in KINDS.values()
    for f in dataclasses.fields(kind)
}


#: What reading a row that is none of ours can raise.
_MALFORMED = (
    AttributeError,
    IndexError,
    KeyError,
    TypeError,
    ValueError,
    OverflowError,
    RecursionError,
)


def header(table: TableData) -> dict[str, Any]:
    """What belongs to the whole table, JSON-ready."""
    head = {
        "format": _version(table),
        "target": table.target.to_dict(),
        "provenance": dict(table.provenance),
    }
    donors = [
        {"target": d.target.to_dict(), "provenance": dict(d.provenance)} for d in table.donors
    ]
    return head | ({"donors": donors} if donors else {})


def _version(table: TableData) -> int:
    """The oldest that holds all of the table: what does not know it must not misread it."""
    ops = [m.workload for part in (table, *table.donors) for m in part.measurements]
    ops += [w for m in table.models for w in m.workloads]
    if any(isinstance(w, MatMul) and w.pattern for w in ops):
        return 7
    if any(isinstance(w, Attention) for w in ops):
        return 6
    if table.donors:
        return 5
    few_bits = any(isinstance(w, MatMul) and w.weight_bits for w in ops)
    return 4 if few_bits else 3


def to_rows(table: TableData) -> list[dict[str, Any]]:
    """One flat dict per row: ops, models, ops of donors, whose models are not kept. ``latency_s``
    is derived, for other readers."""
    blank = dict.fromkeys((*WORKLOAD_COLUMNS, "name", "workloads"))

    def op(m: Measurement, **place: str) -> dict[str, Any]:
        return {**blank, **m.workload.to_dict(), **place, **_timing(m)}

    ops = [op(m, row="op") for m in table.measurements]
    theirs = [
        op(m, row="donor", name=str(number))
        for number, donor in enumerate(table.donors)
        for m in donor.measurements
    ]
    models = [
        {
            **blank,
            "name": m.name,
            "workloads": json.dumps([w.to_dict() for w in m.workloads]),
            "row": "model",
            **_timing(m),
        }
        for m in table.models
    ]
    return ops + models + theirs


def _timing(timing: Timing) -> dict[str, Any]:
    fields = {k: v for k, v in timing.to_dict().items() if k not in ("workload", "workloads")}
    return {"latency_s": timing.latency_s if timing.samples_s else None, **fields}


def from_rows(head: Mapping[str, Any], rows: list[dict[str, Any]], where: str) -> TableData:
    """Inverse of header and to_rows; ``latency_s`` is not read back.

    Raises:
        TableError: naming ``where``, and the row.
    """
    if not isinstance(head, Mapping):
        raise TableError(f"{where}: the header is {head!r:.60}; expected a JSON object")
    version = head.get("format")
    if type(version) is not int or not 1 <= version <= FORMAT_VERSION:
        raise TableError(
            f"{where}: table format is {version!r}; this latprof reads 1 to {FORMAT_VERSION}; "
            "update latprof, or export the table to JSON with the latprof that wrote it"
        )
    heads = head.get("donors", [])
    if not isinstance(heads, list):
        raise TableError(f"{where}: its donors are {heads!r:.60}; expected a list")
    ops: list[Measurement] = []
    models = []
    theirs: list[list[Measurement]] = [[] for _ in heads]
    for number, row in enumerate(rows, 1):
        try:
            if row["row"] in ("op", "donor"):
                workload = {k: row[k] for k in WORKLOAD_COLUMNS if row.get(k) is not None}
                _require_sizes(workload)
                into = ops if row["row"] == "op" else theirs[_place(row["name"])]
                into.append(Measurement.from_dict({**row, "workload": workload}))
            elif row["row"] == "model":
                workloads = json.loads(row["workloads"])
                for workload in workloads:
                    _require_sizes(workload)
                models.append(ModelMeasurement.from_dict({**row, "workloads": workloads}))
            else:
                raise TableError(f"its kind of row is {row['row']!r}; expected op, model or donor")
        except (LatprofError, *_MALFORMED) as exc:
            raise TableError(f"{where}: row {number} is no measurement: {exc}") from exc
    try:
        target = Target.from_dict(head["target"])
        donors = tuple(
            TableData(Target.from_dict(d["target"]), tuple(own), (), dict(d["provenance"]))
            for d, own in zip(heads, theirs, strict=True)
        )
        return TableData(target, tuple(ops), tuple(models), dict(head["provenance"]), donors)
    except (LatprofError, *_MALFORMED) as exc:
        raise TableError(f"{where}: the header is not a latency table's: {exc}") from exc


def _place(name: str | int) -> int:
    """Of a donor in the header."""
    if int(name) < 0:
        raise TableError(f"its donor is {name}; expected a number from 0 on")
    return int(name)


def _require_sizes(workload: Mapping[str, Any]) -> None:
    for name, value in workload.items():
        if isinstance(value, int) and value > _MAX_SIZE:
            raise TableError(f"{name} is {value:.3g}; expected at most {_MAX_SIZE}")


def frame(table: TableData) -> pd.DataFrame:
    """See LatencyTable.to_frame."""
    import pandas as pd

    rows = [
        {
            "label": m.workload.label,
            "family": m.workload.family,
            "c_in": m.workload.channels[0],
            "c_out": m.workload.channels[1],
            "batch": m.workload.batch,
            "macs": m.workload.macs,
            "status": m.status,
            **{
                name: getattr(m, name) if m.samples_s else None
                for name in ("latency_s", "min_s", "p20_s", "median_s", "p90_s", "spread")
            },
            # Of a batch's members: images, sequences; heads of an attention product.
            "throughput_per_s": m.workload.batch / m.latency_s if m.samples_s else None,
            "rounds": len(m.samples_s),
            "samples": sum(map(len, m.samples_s)),
            "measured_at": m.measured_at,
        }
        for m in table.measurements
    ]
    return pd.DataFrame(rows)
