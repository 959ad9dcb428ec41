"""``report``: one self-contained HTML page of a run folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latprof.report import write_report

__all__ = ["ReportResult", "report"]


@dataclass(frozen=True)
class ReportResult:
    """The page that was written."""

    path: Path

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; what ``--json`` prints."""
        return {"report": str(self.path)}


def report(folder: str | Path) -> ReportResult:
    """Write ``report.html`` into the folder of a run that ``compress`` or ``demo`` left.

    Raises:
        UsageError: the folder holds no finished run, or a damaged one.

    Example:
        >>> latprof.report("runs/first").path  # doctest: +SKIP
        PosixPath('runs/first/report.html')
    """
    return ReportResult(write_report(Path(folder)))
