"""Tables: the measured truth of one target. Store, exchange, check, and plan what to measure."""

from latprof.tables._check import Finding, check
from latprof.tables._data import ModelMeasurement
from latprof.tables._diff import TableDiff, diff, plot_diff
from latprof.tables._family import Family, families_of, family_text
from latprof.tables._payoff import Payoff
from latprof.tables._table import LatencyTable
from latprof.tables.formats import (
    import_aiconfigurator,
    import_neusight,
    import_nn_meter,
    import_notes,
    import_ofa,
    import_plain_csv,
    import_tinynas_trt,
    read_csv,
    read_json,
    write_csv,
    write_json,
    write_npz,
)
from latprof.tables.plan import METHODS as PLAN_METHODS
from latprof.tables.plan import AdaptivePlan, Oracle, few_bits, in_pattern, paper_axis, plan

__all__ = [
    "PLAN_METHODS",
    "AdaptivePlan",
    "Family",
    "Finding",
    "LatencyTable",
    "ModelMeasurement",
    "Oracle",
    "Payoff",
    "TableDiff",
    "check",
    "diff",
    "families_of",
    "family_text",
    "few_bits",
    "import_aiconfigurator",
    "import_neusight",
    "import_nn_meter",
    "import_notes",
    "import_ofa",
    "import_plain_csv",
    "import_tinynas_trt",
    "in_pattern",
    "paper_axis",
    "plan",
    "plot_diff",
    "read_csv",
    "read_json",
    "write_csv",
    "write_json",
    "write_npz",
]
