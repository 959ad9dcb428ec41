"""The table file: long-format Parquet with a checksum of all it holds, replaced atomically."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from latprof.errors import TableError
from latprof.tables._data import TableData
from latprof.tables._rows import WORKLOAD_COLUMNS, from_rows, header, to_rows
from latprof.vocabulary import replace_file

__all__ = ["load", "save"]

_METADATA_KEY = b"latprof"
_CHECKSUM = "sha256"
_WITHOUT_CHECKSUM = (1, 2)
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
    try:
        arrow = pa.Table.from_pylist(to_rows(table), schema=_SCHEMA)
    except (pa.ArrowException, OverflowError) as exc:
        raise TableError(f"{path}: a row cannot be written: {exc}") from exc
    head = header(table)
    head[_CHECKSUM] = _checksum(head, arrow)
    arrow = arrow.replace_schema_metadata({_METADATA_KEY: json.dumps(head).encode()})
    sink = pa.BufferOutputStream()
    # Dictionary pages carry no checksum that readers verify, so there are none.
    pq.write_table(arrow, sink, write_page_checksum=True, use_dictionary=False)
    return replace_file(path, sink.getvalue().to_pybytes())


def load(path: Path) -> TableData:
    """See LatencyTable.load."""
    if not path.is_file():
        raise TableError(f"{path}: no such file; make it with: latprof profile DEVICE -o {path}")
    try:
        # Of the one file: a path that looks like a partition's would add columns.
        arrow = pq.ParquetFile(path, page_checksum_verification=True).read()
        rows = arrow.to_pylist()
    except (pa.ArrowException, OSError, ValueError, OverflowError, MemoryError) as exc:
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
    except (ValueError, RecursionError) as exc:
        raise TableError(f"{path}: the 'latprof' metadata is not JSON: {exc}") from exc
    if isinstance(fields, dict) and fields.get("format") not in _WITHOUT_CHECKSUM:
        stated = fields.pop(_CHECKSUM, None)
        if stated != _checksum(fields, arrow):
            raise TableError(
                f"{path}: its contents do not match its checksum: damaged, or changed by another "
                "program; restore it, or profile again from its journal"
            )
    return from_rows(fields, rows, str(path))


def _checksum(head: Mapping[str, Any], arrow: pa.Table) -> str:
    """SHA-256 of the header and of every column's name and values."""
    digest = hashlib.sha256(json.dumps(head, sort_keys=True).encode())
    for name, column in zip(arrow.column_names, arrow.columns, strict=True):
        digest.update(f"{name}:{len(column)}".encode())
        _add(digest, column.combine_chunks())
    return digest.hexdigest()


def _add(digest: Any, values: Any) -> None:
    """Into the digest, an array's values and which of them are null."""
    digest.update(values.is_valid().to_numpy(zero_copy_only=False).tobytes())
    if pa.types.is_list(values.type):
        digest.update(np.array(values.value_lengths().fill_null(0), dtype=np.int64).tobytes())
        _add(digest, values.flatten())
    elif pa.types.is_string(values.type):
        digest.update(json.dumps(values.to_pylist()).encode())
    elif not pa.types.is_primitive(values.type):  # of no column that was written: damaged
        digest.update(f"{values.type}".encode())
    else:
        if pa.types.is_boolean(values.type):
            values = values.cast(pa.int8())
        digest.update(values.fill_null(0).to_numpy(zero_copy_only=False).tobytes())
