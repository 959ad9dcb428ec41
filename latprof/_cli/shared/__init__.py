"""What several commands print and take."""

from __future__ import annotations

from latprof._cli.shared._output import (
    MODEL_HELP,
    json_option,
    note,
    print_json,
    print_run,
    print_table,
    print_usage,
    progress,
    working,
)
from latprof._cli.shared._settings import model_options, settings_options, whole_numbers

__all__ = [
    "MODEL_HELP",
    "json_option",
    "model_options",
    "note",
    "print_json",
    "print_run",
    "print_table",
    "print_usage",
    "progress",
    "settings_options",
    "whole_numbers",
    "working",
]
