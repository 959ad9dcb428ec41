"""Tests that measure this machine: what they do where it is slowed down throughout."""

from __future__ import annotations

from pathlib import Path

import pytest

from latprof import LatencyTable

__all__ = ["skip_if_throttled"]


def skip_if_throttled(table: Path) -> None:
    """Skip where the rows that are not usable were all taken beside background load: then nothing
    is said of what is tested. Rows that failed for another reason are for the test to tell."""
    if not table.is_file():
        return
    rows = LatencyTable.load(table).measurements
    lost = [m for m in rows if not m.usable]
    if lost and all(m.status == "throttled" for m in lost) and 2 * len(lost) > len(rows):
        pytest.skip(f"this machine was slowed down throughout: {len(lost)} of {len(rows)} rows")
