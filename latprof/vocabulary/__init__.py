"""What every room shares: targets, measurements, units, files."""

from __future__ import annotations

from latprof.vocabulary._advice import AdviceResult
from latprof.vocabulary._cache import cache_dir
from latprof.vocabulary._callables import importable, load_callable, load_object
from latprof.vocabulary._checks import check_number
from latprof.vocabulary._class_result import ClassResult, lost_classes
from latprof.vocabulary._closing import Closing
from latprof.vocabulary._extras import require
from latprof.vocabulary._files import gzip_bytes, replace_file
from latprof.vocabulary._json_files import checksum, load_json, save_json
from latprof.vocabulary._measurement import STATUSES, Measurement, Timing
from latprof.vocabulary._pretrained import SHRUNK
from latprof.vocabulary._run_result import (
    BudgetOutcome,
    LayerResult,
    NetworkResult,
    RunResult,
    StaircaseResult,
    WidthResult,
)
from latprof.vocabulary._search_result import ObjectiveResult, SampleResult, SearchResult
from latprof.vocabulary._target import Target
from latprof.vocabulary._units import (
    format_count,
    format_duration,
    format_figure,
    format_j,
    format_rate,
    format_s,
)

__all__ = [
    "SHRUNK",
    "STATUSES",
    "AdviceResult",
    "BudgetOutcome",
    "ClassResult",
    "Closing",
    "LayerResult",
    "Measurement",
    "NetworkResult",
    "ObjectiveResult",
    "RunResult",
    "SampleResult",
    "SearchResult",
    "StaircaseResult",
    "Target",
    "Timing",
    "WidthResult",
    "cache_dir",
    "check_number",
    "checksum",
    "format_count",
    "format_duration",
    "format_figure",
    "format_j",
    "format_rate",
    "format_s",
    "gzip_bytes",
    "importable",
    "load_callable",
    "load_json",
    "load_object",
    "lost_classes",
    "replace_file",
    "require",
    "save_json",
]
