"""What is wrong with a table, in one line each."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from latprof.errors import TargetMismatchError
from latprof.tables._family import family_text
from latprof.tables._table import LatencyTable
from latprof.vocabulary import Measurement, Target, format_s
from latprof.workloads import Workload

__all__ = ["Finding", "check", "impossible"]

#: No device is faster: a row that says so was timed wrongly, or is in another unit.
_MAX_MACS_PER_S = 2e15
_MIN_LATENCY_S = 2e-8

#: What to do about rows of each status.
_ADVICE = {
    "failed": "they are in no fit; the same profile command tries them again",
    "throttled": "they are in no fit; run the same profile command again when the device is idle",
    "noisy": "a fit reads them; for narrower rows profile again into a new file on an idle device",
}

#: A row this many times faster than one of at most its channels is suspect.
_SUSPECT_FACTOR = 2.0

#: Neighboring counts further apart than this factor leave much between them unmeasured.
_GAP_FACTOR = 6.0
_FEW_ROWS = 4
_NOISY_SPREAD = 0.10


@dataclass(frozen=True)
class Finding:
    """Args:
    severity: ``error`` (wrong data), ``warning`` (doubtful data) or ``note``.
    kind: ``target``, ``duplicate``, ``impossible``, ``suspect``, ``status``, ``noise``, ``gap``.
    message: one line.
    """

    severity: str
    kind: str
    message: str


def check(table: LatencyTable, *, target: Target | None = None) -> list[Finding]:
    """Everything found, errors first.

    Args:
        target: what the table is expected to be of, where that is known.
    """
    findings = [
        *_target(table, target),
        *_duplicates(table),
        *_impossible(table),
        *_suspect(table),
        *_statuses(table),
        *_noise(table),
        *_gaps(table),
    ]
    order = ("error", "warning", "note")
    return sorted(findings, key=lambda f: order.index(f.severity))


def _target(table: LatencyTable, target: Target | None) -> Iterator[Finding]:
    if target is None:
        return
    try:
        target.require(table.target, "the table")
    except TargetMismatchError as exc:
        yield Finding("error", "target", str(exc))


def _duplicates(table: LatencyTable) -> Iterator[Finding]:
    for workload, count in table.duplicates.items():
        yield Finding(
            "error",
            "duplicate",
            f"{_shape(workload)} has {count} rows; a fit reads the last usable one; keep one with: "
            "latprof table merge TABLE -o NEW",
        )


def _impossible(table: LatencyTable) -> Iterator[Finding]:
    for m in table.usable:
        if fault := impossible(m.workload, m.latency_s):
            advice = "check the unit of its latency, or measure it again"
            yield Finding("error", "impossible", f"{fault}; {advice}")


def impossible(workload: Workload, latency_s: float) -> str:
    """Why no device takes this long for it; empty where one may."""
    if not (math.isfinite(latency_s) and latency_s > 0):
        return f"the latency of {_shape(workload)} is {latency_s:g} s; expected a number > 0"
    if latency_s < _MIN_LATENCY_S or workload.macs / latency_s > _MAX_MACS_PER_S:
        return f"{_shape(workload)} takes {format_s(latency_s)}, faster than any device"
    return ""


def _suspect(table: LatencyTable) -> Iterator[Finding]:
    """Rows much faster than a row of the same family with no more channels. Counts that are
    multiples of 4 are held against their like: runtimes have other code for the rest."""
    for rows in _families(table).values():
        counts = np.array([m.workload.channels for m in rows])
        latency_s = np.array([m.latency_s for m in rows])
        whole = counts % 4 == 0
        alike = (whole[:, None] == whole[None]).all(axis=2)
        covers = alike & (counts[:, None] >= counts[None]).all(axis=2)
        slower = np.where(covers, latency_s[None], 0.0).max(axis=1) / latency_s
        name = family_text(rows[0].workload)
        for i in np.flatnonzero(slower > _SUSPECT_FACTOR):
            yield Finding(
                "warning",
                "suspect",
                f"{name}: {counts[i, 0]} -> {counts[i, 1]} takes {format_s(latency_s[i])}, "
                f"{slower[i]:.1f}x less than a smaller shape; measure it again",
            )


def _statuses(table: LatencyTable) -> Iterator[Finding]:
    rows = [*table.measurements, *table.models]
    for status in ("failed", "throttled", "noisy"):
        details = [m.detail for m in rows if m.status == status]
        if details:
            often = Counter(details).most_common(1)[0][0]
            reason = f"; most often: {often}" if often else ""
            yield Finding(
                "note" if status == "noisy" else "warning",
                "status",
                f"{len(details)} of {len(rows)} rows are {status}{reason}; {_ADVICE[status]}",
            )


def _noise(table: LatencyTable) -> Iterator[Finding]:
    spreads = np.array([m.spread for m in table.usable])
    wide = int((spreads > _NOISY_SPREAD).sum())
    if wide:
        yield Finding(
            "warning" if wide > 0.1 * len(spreads) else "note",
            "noise",
            f"{wide} of {len(spreads)} rows differ by more than +-{_NOISY_SPREAD:.0%} between "
            "processes; close other programs and profile them again into a new file",
        )


def _gaps(table: LatencyTable) -> Iterator[Finding]:
    families = _families(table).values()
    few = [family_text(rows[0].workload) for rows in families if len(rows) < _FEW_ROWS]
    if few:
        yield Finding(
            "note", "gap", f"{len(few)} families have fewer than {_FEW_ROWS} rows: {few[0]}, ..."
        )
    for rows in families:
        name = family_text(rows[0].workload)
        for axis, axis_name in enumerate(("c_in", "c_out")):
            if axis == 0 and rows[0].workload.tied:
                continue
            counts = np.unique([m.workload.channels[axis] for m in rows])
            for low, high in pairwise(counts):
                if len(rows) >= _FEW_ROWS and low >= 8 and high > _GAP_FACTOR * low:
                    yield Finding(
                        "note", "gap", f"{name}: no row between {axis_name} {low} and {high}"
                    )


def _shape(workload: Workload) -> str:
    c_in, c_out = workload.channels
    return f"{family_text(workload)} {c_in} -> {c_out}"


def _families(table: LatencyTable) -> dict[str, Sequence[Measurement]]:
    families: dict[str, list[Measurement]] = {}
    for m in table.usable:
        families.setdefault(m.workload.family, []).append(m)
    return dict(families)
