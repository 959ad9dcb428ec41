"""Finished rows of a resumable study: a file of JSON lines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

__all__ = ["append_row", "read_rows"]


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Those of the file; none where there is no file."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def append_row(path: Path, row: dict[str, Any]) -> None:
    with path.open("a") as out:
        out.write(json.dumps(row) + "\n")
