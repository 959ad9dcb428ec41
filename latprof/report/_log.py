"""``log.jsonl``: the figures of a run as it trained, a row each tenth step."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["log_place", "read_log"]

_PHASES = ("masks", "fine_tune")


def read_log(path: Path) -> list[dict[str, Any]]:
    """Rows of a ``log.jsonl``, of each step the last; a line that a kill left incomplete is left
    out. Empty where there is no file."""
    if not path.is_file():
        return []
    rows: dict[tuple[int, int], dict[str, Any]] = {}
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        with contextlib.suppress(ValueError, KeyError, TypeError):
            row = json.loads(line)
            rows[log_place(row)] = row
    return [rows[place] for place in sorted(rows)]


def log_place(row: Mapping[str, Any]) -> tuple[int, int]:
    """Where a row stands in its run: (phase, step)."""
    return _PHASES.index(row["phase"]), int(row["step"])
