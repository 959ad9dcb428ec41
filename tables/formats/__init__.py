"""Tables of other formats: CSV, JSON, NPZ, and imports of what others published."""

from __future__ import annotations

from latprof.tables.formats._aiconfigurator import import_aiconfigurator
from latprof.tables.formats._collect import import_notes
from latprof.tables.formats._neusight import import_neusight
from latprof.tables.formats._nn_meter import import_nn_meter
from latprof.tables.formats._npz import write_npz
from latprof.tables.formats._ofa import import_ofa
from latprof.tables.formats._plain_csv import import_plain_csv
from latprof.tables.formats._text import read_csv, read_json, write_csv, write_json
from latprof.tables.formats._tinynas import import_tinynas_trt

__all__ = [
    "import_aiconfigurator",
    "import_neusight",
    "import_nn_meter",
    "import_notes",
    "import_ofa",
    "import_plain_csv",
    "import_tinynas_trt",
    "read_csv",
    "read_json",
    "write_csv",
    "write_json",
    "write_npz",
]
