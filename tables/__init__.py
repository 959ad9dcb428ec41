"""Tables: the measured truth of one target. Store, exchange, check, and plan what to measure."""

from latprof.tables._adaptive import AdaptivePlan, Oracle
from latprof.tables._check import Finding, check
from latprof.tables._diff import TableDiff, diff, plot_diff
from latprof.tables._family import Family, families_of, family_text
from latprof.tables._grid import write_npz
from latprof.tables._import import import_plain_csv, import_tinynas_trt
from latprof.tables._plan import METHODS as PLAN_METHODS
from latprof.tables._plan import paper_axis, plan
from latprof.tables._table import LatencyTable, ModelMeasurement
from latprof.tables._text import read_csv, read_json, write_csv, write_json

__all__ = [
    "PLAN_METHODS",
    "AdaptivePlan",
    "Family",
    "Finding",
    "LatencyTable",
    "ModelMeasurement",
    "Oracle",
    "TableDiff",
    "check",
    "diff",
    "families_of",
    "family_text",
    "import_plain_csv",
    "import_tinynas_trt",
    "paper_axis",
    "plan",
    "plot_diff",
    "read_csv",
    "read_json",
    "write_csv",
    "write_json",
    "write_npz",
]
