"""Tables of other formats: CSV, JSON, NPZ, and imports of what others published."""

from __future__ import annotations

from latprof.tables.formats._npz import write_npz
from latprof.tables.formats._plain_csv import import_plain_csv
from latprof.tables.formats._text import read_csv, read_json, write_csv, write_json
from latprof.tables.formats._tinynas import import_tinynas_trt

__all__ = [
    "import_plain_csv",
    "import_tinynas_trt",
    "read_csv",
    "read_json",
    "write_csv",
    "write_json",
    "write_npz",
]
