"""What every room shares: targets, measurements, units, files."""

from __future__ import annotations

from latprof.vocabulary._cache import cache_dir
from latprof.vocabulary._closing import Closing
from latprof.vocabulary._extras import load_callable, require
from latprof.vocabulary._files import replace_file
from latprof.vocabulary._measurement import Measurement, Timing
from latprof.vocabulary._target import Target
from latprof.vocabulary._units import format_count, format_figure, format_s

__all__ = [
    "Closing",
    "Measurement",
    "Target",
    "Timing",
    "cache_dir",
    "format_count",
    "format_figure",
    "format_s",
    "load_callable",
    "replace_file",
    "require",
]
