"""Ops alone: from a table's rows, its surrogate, or the device; and the table's roofline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from latprof.surrogate import fit, fit_file
from latprof.tables import LatencyTable
from latprof.workloads import Workload

__all__ = ["Alone", "TableFigures"]


@dataclass(frozen=True)
class Alone:
    """One op alone.

    Args:
        seconds: of one call.
        source: ``row``, ``surrogate`` or ``device``.
    """

    seconds: float
    source: str


class TableFigures:
    """What a table says of ops alone.

    Args:
        table: or its file.
    """

    def __init__(self, table: str | Path | LatencyTable) -> None:
        if isinstance(table, LatencyTable):
            self._table, self._surrogate = table, fit(table)
        else:
            self._table, self._surrogate = LatencyTable.load(table), fit_file(table)
        self._rows = {m.workload: m.latency_s for m in self._table.usable}
        self.target = self._table.target
        worked = [(m.workload, m.latency_s) for m in self._table.usable]
        self._s_per_mac = {
            dtype: min(s / w.macs for w, s in worked if w.macs and w.dtype == dtype)
            for dtype in {w.dtype for w, _ in worked if w.macs}
        }
        self._s_per_byte = min(s / (w.weight_bytes + w.activation_bytes) for w, s in worked)

    def alone(self, workloads: Sequence[Workload]) -> dict[Workload, Alone]:
        """Of those that it has a row of, or rows of their kind."""
        found = {w: Alone(self._rows[w], "row") for w in workloads if w in self._rows}
        rest = [
            w for w in dict.fromkeys(workloads)
            if w not in found and w.label in self._surrogate.labels
        ]  # fmt: skip
        if rest:
            seconds = self._surrogate.predict(rest).latency_s
            found |= {w: Alone(float(s), "surrogate") for w, s in zip(rest, seconds, strict=True)}
        return found

    def roofline_s(self, workload: Workload) -> float:
        """The least it can take, at the fastest MACs and bytes per second of any row."""
        moved = workload.weight_bytes + workload.activation_bytes
        work_s = workload.macs * self._s_per_mac.get(workload.dtype, 0.0)
        return max(work_s, moved * self._s_per_byte)
