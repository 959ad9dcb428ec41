"""What is timed, in which order, and which readings are kept."""

from __future__ import annotations

from latprof.devices.measure._compare import Comparison, compare_files, compare_until, degrees_of
from latprof.devices.measure._conditions import Conditions, mostly_failed
from latprof.devices.measure._many import profile_many
from latprof.devices.measure._profile import Event, measure_files, profile, run_inference
from latprof.devices.measure._sustained import Sustained, measure_sustained
from latprof.devices.measure._usage import measure_usage

__all__ = [
    "Comparison",
    "Conditions",
    "Event",
    "Sustained",
    "compare_files",
    "compare_until",
    "degrees_of",
    "measure_files",
    "measure_sustained",
    "measure_usage",
    "mostly_failed",
    "profile",
    "profile_many",
    "run_inference",
]
