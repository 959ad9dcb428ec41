"""Profiling into a table file: plan, measure, keep; the same call goes on where it stopped."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from latprof.devices import Device, Event, ScheduleSettings, profile
from latprof.errors import UsageError
from latprof.pipeline.into._planned import WITH_DONORS, planned
from latprof.surrogate import measure_adaptively
from latprof.tables import AdaptivePlan, LatencyTable
from latprof.vocabulary import Measurement
from latprof.workloads import Workload

__all__ = ["journal_path", "open_table", "profile_into"]


def journal_path(table: Path) -> Path:
    """Where rows wait, one fsynced line each, until the table itself is written."""
    return table.with_name(table.name + ".journal")


def open_table(path: Path, device: Device) -> LatencyTable:
    """The table at ``path``, or an empty one of the device's target.

    Raises:
        TargetMismatchError: the file is of another target.
        TableError: the file is corrupt.
    """
    if not path.exists():
        return LatencyTable(device.target)
    table = LatencyTable.load(path)
    table.target.require(device.target, str(path))
    return table


def profile_into(
    path: Path,
    device: Device,
    workloads: Sequence[Workload],
    *,
    n_shapes: int,
    method: str = "spread",
    target_error: float | None = None,
    seed: int = 0,
    theta: int | None = None,
    bits: Sequence[int] = (),
    patterns: Sequence[str] = (),
    donors: Sequence[LatencyTable] = (),
    settings: ScheduleSettings | None = None,
    on_event: Callable[[Event], None] | None = None,
) -> LatencyTable:
    """Measure a plan of ``n_shapes`` for a model with these full-size workloads, into ``path``.

    Shapes the table already holds are not measured again. A run that was killed left a journal
    beside the table; it is read first, and removed once its rows are in the table.

    Args:
        method: of ``plan``, or ``adaptive``: see AdaptivePlan, which alone reads ``target_error``.
        theta: of the method ``paper``.
        bits: widths at which linear layers are measured besides; see ``few_bits``.
        patterns: of zeros, in which linear layers are measured besides; see ``in_pattern``.
        donors: tables of other targets, which choose the shapes; the table keeps them.

    Raises:
        UsageError: bits, patterns or donors with the method ``adaptive``.
        TargetMismatchError: a donor is of the device's own target.
    """
    table = open_table(path, device)
    table = table.with_donors(donors) if donors else table
    journal = journal_path(path)
    asked = 0

    def measure(shapes: Sequence[Workload]) -> Iterator[Measurement]:
        nonlocal asked
        before, asked = asked, asked + len(shapes)

        def overall(event: Event) -> None:
            done, total = before + event.done, max(n_shapes, asked)  # more with bits or patterns
            fraction = (before + event.fraction * len(shapes)) / total
            if on_event is not None:
                on_event(replace(event, done=done, total=total, fraction=fraction))

        return profile(device, shapes, journal=journal, settings=settings, on_event=overall)

    how: dict[str, Any] = {"method": method, "n_shapes": n_shapes, "seed": seed}
    if method == "adaptive":
        if bits or patterns:
            raise UsageError("method is 'adaptive'; bits and patterns take spread, paper or grid")
        if donors:
            raise UsageError(WITH_DONORS.format(method))
        adaptive = AdaptivePlan(workloads, n_shapes=n_shapes, target_error=target_error, seed=seed)
        table = measure_adaptively(adaptive, table, measure, seed=seed)
        facts = {**how, "target_error": target_error, "stopped_by": adaptive.stopped_by}
    else:
        shapes, facts = planned(
            workloads, **how, theta=theta, bits=bits, patterns=patterns, donors=donors
        )
        known = {m.workload for m in table.usable}
        table = table.with_measurements(measure([w for w in shapes if w not in known]))
    provenance = {**table.provenance, "plan": facts, "environment": device.environment()}
    table = replace(table, provenance=provenance)
    table.save(path)
    journal.unlink(missing_ok=True)
    return table
