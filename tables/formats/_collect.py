"""What imports of large published tables share: columns with line numbers, and what became of each
line."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from latprof.errors import TableError
from latprof.tables._check import impossible
from latprof.tables._data import ModelMeasurement
from latprof.tables._table import LatencyTable
from latprof.vocabulary import Measurement, Target
from latprof.workloads import Workload

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "Collected",
    "by_text",
    "import_notes",
    "one_value",
    "read_columns",
    "require_columns",
    "sizes",
]

#: Of the lines of one fault, so many are named.
_NAMED_LINES = 20

#: A size above this is no size: the most that 32 bits hold.
_MAX_SIZE = 2**31 - 1


@dataclass
class Collected:
    """The rows of one file, and what could not become one.

    Args:
        path: of the file, for messages.
        rows: in the order of the file.
        models: blocks of several ops.
        left_out: why -> lines of what workloads cannot express.
        faults: lines of impossible values, each with its reason.
        doubled: (line, line of the earlier row) of shapes that come again.
    """

    path: Path
    rows: list[Measurement] = field(default_factory=list)
    models: list[ModelMeasurement] = field(default_factory=list)
    left_out: dict[str, list[int]] = field(default_factory=dict)
    faults: list[tuple[int, str]] = field(default_factory=list)
    doubled: list[tuple[int, int]] = field(default_factory=list)
    _seen: dict[Workload | tuple[Workload, ...], int] = field(default_factory=dict)

    def add(self, line: int, workload: Workload, latency_s: float) -> None:
        """A row of one op; an impossible latency is a fault."""
        if fault := impossible(workload, latency_s):
            self.faults.append((line, fault))
            return
        self._note_again(line, workload)
        self.rows.append(Measurement(workload=workload, samples_s=((latency_s,),)))

    def add_model(
        self, line: int, name: str, workloads: tuple[Workload, ...], latency_s: float
    ) -> None:
        """A row of several ops that were measured together."""
        if not (np.isfinite(latency_s) and latency_s > 0):
            self.faults.append((line, f"the latency of {name} is {latency_s:g} s"))
            return
        self._note_again(line, workloads)
        timing = ((latency_s,),)
        self.models.append(ModelMeasurement(name=name, workloads=workloads, samples_s=timing))

    def leave_out(self, lines: Iterable[int], reason: str) -> None:
        """Lines that say something no workload can."""
        if new := list(map(int, lines)):
            self.left_out.setdefault(reason, []).extend(new)

    def table(self, target: Target, **facts: Any) -> LatencyTable:
        """All of it; ``provenance`` counts what was left out, faults and doubled shapes.

        Raises:
            TableError: no line became a row.
        """
        provenance: dict[str, Any] = {"imported_from": self.path.name, **facts}
        if self.left_out:
            provenance["left_out"] = {
                reason: {"rows": len(lines), "first_line": lines[0]}
                for reason, lines in self.left_out.items()
            }
        if self.faults:
            provenance["impossible"] = {
                "rows": len(self.faults),
                "lines": [list(fault) for fault in self.faults[:_NAMED_LINES]],
            }
        if self.doubled:
            provenance["duplicates"] = {
                "rows": len(self.doubled),
                "lines": [list(pair) for pair in self.doubled[:_NAMED_LINES]],
            }
        dtypes = {m.workload.dtype for m in self.rows}
        dtypes |= {w.dtype for m in self.models for w in m.workloads}
        if len(dtypes) == 1:
            target = replace(target, precision=dtypes.pop())
        table = LatencyTable(target, tuple(self.rows), tuple(self.models), provenance)
        if not self.rows and not self.models:
            why = "; ".join(import_notes(table)) or "the file has no rows"
            raise TableError(f"{self.path}: no row that a latency table can hold: {why}")
        return table

    def _note_again(self, line: int, what: Workload | tuple[Workload, ...]) -> None:
        earlier = self._seen.setdefault(what, line)
        if earlier != line:
            self.doubled.append((line, earlier))
            self._seen[what] = line


def import_notes(table: LatencyTable) -> list[str]:
    """What an import left out, found impossible or doubled, in one line each.

    Example:
        >>> for line in import_notes(LatencyTable.load("h100.parquet")):  # doctest: +SKIP
        ...     print(line)
        71446 rows left out (from line 4): gemm_dtype is fp8, which no workload has
    """
    facts = table.provenance
    notes = [
        f"{_count(found['rows'])} left out (from line {found['first_line']}): {reason}"
        for reason, found in facts.get("left_out", {}).items()
    ]
    if found := facts.get("impossible"):
        line, reason = found["lines"][0]
        others = _others(found, [line for line, _ in found["lines"]])
        notes.append(
            f"{_count(found['rows'])} left out as impossible: line {line}: {reason}{others}"
        )
    if found := facts.get("duplicates"):
        line, earlier = found["lines"][0]
        others = _others(found, [line for line, _ in found["lines"]])
        notes.append(
            f"{_count(found['rows'])} of a shape that came before: line {line} that of line "
            f"{earlier}{others}; a fit reads the last of each"
        )
    return notes


def _count(rows: int) -> str:
    return "1 row" if rows == 1 else f"{rows} rows"


def _others(found: Mapping[str, Any], lines: Sequence[int]) -> str:
    if len(lines) < 2:
        return ""
    more = ", ..." if found["rows"] > len(lines) else ""
    return f"; and lines {', '.join(map(str, lines[1:]))}{more}"


def read_columns(path: Path, needed: Sequence[str]) -> pd.DataFrame:
    """A CSV file with a header, or a Parquet file, as text columns; its index is the line (of
    Parquet: the row).

    Raises:
        TableError: it is neither, or lacks a needed column.
    """
    import pandas as pd

    try:
        data = path.read_bytes()
        if data.startswith(b"PAR1"):
            frame = pd.read_parquet(io.BytesIO(data))
            frame.index = pd.RangeIndex(1, len(frame) + 1)
        else:
            frame = pd.read_csv(
                io.StringIO(data.decode("utf-8-sig")), skip_blank_lines=False, low_memory=False
            )
            frame.index = pd.RangeIndex(2, len(frame) + 2)
            frame = frame.dropna(how="all")
    except (OSError, ValueError) as exc:  # pandas' and pyarrow's errors are ValueErrors
        raise TableError(f"{path}: cannot be read as CSV or Parquet: {exc}") from exc
    frame.columns = [str(name).strip() for name in frame.columns]
    require_columns(path, frame, needed)
    return frame


def by_text(frame: pd.DataFrame, name: str) -> Iterator[tuple[str, pd.DataFrame]]:
    """The rows of each text of a column; those without one are under ``empty``."""
    for text, group in frame.groupby(frame[name].fillna("empty").astype(str)):
        yield str(text), group


def require_columns(path: Path, frame: pd.DataFrame, needed: Sequence[str]) -> None:
    """Raise TableError naming the columns that the file lacks."""
    missing = [name for name in needed if name not in frame.columns]
    if missing:
        raise TableError(
            f"{path}: the columns are {', '.join(frame.columns)[:200]}; expected "
            f"{', '.join(missing)} too"
        )


def sizes(frame: pd.DataFrame, names: Sequence[str], collected: Collected) -> pd.DataFrame:
    """The rows whose named columns are whole numbers >= 1, as integers; others become faults."""
    import pandas as pd

    right = np.ones(len(frame), dtype=bool)
    lines = frame.index.tolist()
    columns = {}
    for name in names:
        numbers = pd.to_numeric(frame[name], errors="coerce").to_numpy(dtype=float)
        whole = np.isfinite(numbers) & (numbers == np.floor(numbers))
        whole &= (numbers >= 1) & (numbers <= _MAX_SIZE)
        for at in np.flatnonzero(right & ~whole):
            value = frame[name].iloc[at]
            fault = f"{name} is {str(value)[:40]}; expected a whole number >= 1"
            collected.faults.append((lines[at], fault))
        right &= whole
        columns[name] = numbers
    kept = frame[right].copy()
    for name, numbers in columns.items():
        kept[name] = numbers[right].astype(np.int64)
    return kept


def one_value(path: Path, frame: pd.DataFrame, name: str) -> str:
    """What the column says in every row: a table is of one target.

    Raises:
        TableError: it says several things.
    """
    values = frame[name].dropna().astype(str).unique().tolist() if name in frame else []
    if len(values) > 1:
        raise TableError(
            f"{path}: {name} is {', '.join(values[:4])}; a table is of one target, so split the "
            "file by that column"
        )
    return values[0] if values else "unknown"
