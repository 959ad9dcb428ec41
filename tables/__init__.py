"""Tables: the measured truth of one target. Store, exchange, check, and plan what to measure."""

from latprof.tables._family import Family, families_of
from latprof.tables._plan import plan
from latprof.tables._table import LatencyTable, ModelMeasurement
from latprof.tables._text import read_csv, read_json, write_csv, write_json

__all__ = [
    "Family",
    "LatencyTable",
    "ModelMeasurement",
    "families_of",
    "plan",
    "read_csv",
    "read_json",
    "write_csv",
    "write_json",
]
