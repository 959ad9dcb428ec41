"""The table file: long-format Parquet with checksummed pages, replaced atomically."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from latprof.errors import TableError
from latprof.tables._data import TableData
from latprof.tables._rows import WORKLOAD_COLUMNS, from_rows, header, to_rows
from latprof.vocabulary import replace_file

__all__ = ["load", "save"]

_METADATA_KEY = b"latprof"
_TYPES = {int: pa.int64(), str: pa.string(), bool: pa.bool_()}
_SCHEMA = pa.schema(
    [
        ("row", pa.string()),
        ("name", pa.string()),
        *((name, _TYPES[type_]) for name, type_ in WORKLOAD_COLUMNS.items()),
        ("latency_s", pa.float64()),
        ("status", pa.string()),
        ("detail", pa.string()),
        ("measured_at", pa.string()),
        ("samples_s", pa.list_(pa.list_(pa.float64()))),
        ("slowdown", pa.list_(pa.float64())),
        ("workloads", pa.string()),
    ]
)


def save(table: TableData, path: Path) -> Path:
    """See LatencyTable.save."""
    schema = _SCHEMA.with_metadata({_METADATA_KEY: json.dumps(header(table)).encode()})
    arrow = pa.Table.from_pylist(to_rows(table), schema=schema)
    sink = pa.BufferOutputStream()
    # Dictionary pages carry no checksum that readers verify, so there are none.
    pq.write_table(arrow, sink, write_page_checksum=True, use_dictionary=False)
    return replace_file(path, sink.getvalue().to_pybytes())


def load(path: Path) -> TableData:
    """See LatencyTable.load."""
    if not path.is_file():
        raise TableError(f"{path}: no such file; make it with: latprof profile DEVICE -o {path}")
    try:
        arrow = pq.read_table(path, page_checksum_verification=True)
        rows = arrow.to_pylist()
    except (pa.ArrowException, OSError, ValueError) as exc:
        reason = " ".join(str(exc).split())
        raise TableError(
            f"{path}: not a readable Parquet file, truncated or corrupt ({reason[:120]}); "
            "restore it, or profile again from its journal"
        ) from exc
    head = (arrow.schema.metadata or {}).get(_METADATA_KEY)
    if head is None:
        raise TableError(
            f"{path}: Parquet, but not a latency table: its metadata has no 'latprof' entry; "
            "to bring in other tables use: latprof table import"
        )
    try:
        fields = json.loads(head)
    except ValueError as exc:
        raise TableError(f"{path}: the 'latprof' metadata is not JSON: {exc}") from exc
    return from_rows(fields, rows, str(path))
