"""Profiling into a table file: plan, measure, keep; the same call goes on where it stopped."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from latprof._workload import Workload
from latprof.devices import Device, Event, ScheduleSettings, profile
from latprof.tables import LatencyTable, plan

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
    seed: int = 0,
    settings: ScheduleSettings | None = None,
    on_event: Callable[[Event], None] | None = None,
) -> LatencyTable:
    """Measure a plan of ``n_shapes`` for a model with these full-size workloads, into ``path``.

    Shapes the table already holds are not measured again. A run that was killed left a journal
    beside the table; it is read first, and removed once its rows are in the table.
    """
    table = open_table(path, device)
    shapes = plan(workloads, method=method, n_shapes=n_shapes, seed=seed)
    known = {m.workload for m in table.usable}
    journal = journal_path(path)
    todo = [w for w in shapes if w not in known]
    rows = profile(device, todo, journal=journal, settings=settings, on_event=on_event)
    measured = list(rows)
    provenance = {
        **table.provenance,
        "plan": {"method": method, "n_shapes": n_shapes, "seed": seed},
    }
    table = replace(table.with_measurements(measured), provenance=provenance)
    table.save(path)
    journal.unlink(missing_ok=True)
    return table
