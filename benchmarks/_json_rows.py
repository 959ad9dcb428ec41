"""Finished rows of a resumable study: a file of JSON lines."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["add_rows", "append_row", "read_rows", "study_parser"]


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Those of the file; none where there is no file."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def append_row(path: Path, row: dict[str, Any]) -> None:
    with path.open("a") as out:
        out.write(json.dumps(row) + "\n")


def add_rows(
    path: Path,
    cell: dict[str, Any],
    run: Callable[..., dict[str, Any] | list[dict[str, Any]]],
    *given: Any,
) -> None:
    """Call what has no row of this cell yet, add the row or rows it returns, and show the last."""
    if any(cell.items() <= row.items() for row in read_rows(path)):
        return
    found = run(*given)
    for row in [found] if isinstance(found, dict) else found:
        append_row(path, cell | row)
    print(read_rows(path)[-1], file=sys.stderr, flush=True)


def study_parser(doc: str | None, rows: str) -> argparse.ArgumentParser:
    """With the options of every study that keeps its rows among the results."""
    parser = argparse.ArgumentParser(description=(doc or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1, 2])
    parser.add_argument("--threads", type=int, default=1, help="of training")
    parser.add_argument("--rows", type=Path, default=Path(__file__).parent / "results" / rows)
    parser.add_argument("--only-report", action="store_true")
    return parser
