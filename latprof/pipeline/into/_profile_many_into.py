"""Profiling on several devices at once: one plan, one table per target."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from latprof.devices import Device, Event, ScheduleSettings, profile_many
from latprof.errors import UsageError
from latprof.pipeline.into._planned import planned
from latprof.pipeline.into._profile_into import journal_path, open_table
from latprof.tables import LatencyTable
from latprof.vocabulary import Measurement, Target
from latprof.workloads import Workload

__all__ = ["profile_many_into", "table_paths"]


def table_paths(out: Path, devices: Sequence[tuple[str, Device]]) -> dict[Target, Path]:
    """Each target's table: ``out`` itself where there is one target, else named by device.

    ``t.parquet`` on ``local`` and ``ssh:boxA`` becomes ``t-local.parquet`` and
    ``t-ssh-boxA.parquet``; devices of one target share the first one's.
    """
    first: dict[Target, str] = {}
    for spec, device in devices:
        first.setdefault(device.target, re.sub(r"[^\w.]+", "-", spec))
    if len(first) == 1:
        return dict.fromkeys(first, out)
    return {t: out.with_name(f"{out.stem}-{name}{out.suffix}") for t, name in first.items()}


def profile_many_into(
    out: Path,
    devices: Sequence[tuple[str, Device]],
    workloads: Sequence[Workload],
    *,
    n_shapes: int,
    method: str = "spread",
    seed: int = 0,
    theta: int | None = None,
    bits: Sequence[int] = (),
    patterns: Sequence[str] = (),
    donors: Sequence[LatencyTable] = (),
    settings: ScheduleSettings | None = None,
    on_event: Callable[[Event], None] | None = None,
) -> dict[Path, LatencyTable]:
    """Measure one plan on all ``devices`` (spec, opened); those of one target share its shapes.

    Shapes that every table already holds are not measured again; a run that was killed goes on
    from the journals beside the tables. ``on_event`` hears of all devices together.

    Raises:
        UsageError: method is ``adaptive``, which asks one device after each answer.
    """
    if method == "adaptive":
        raise UsageError(
            "method is 'adaptive', which takes one device; expected spread, paper, grid"
        )
    paths = table_paths(out, devices)
    openers = {device.target: device for _, device in devices}
    tables = {target: open_table(path, openers[target]) for target, path in paths.items()}
    known = [{row.workload for row in table.usable} for table in tables.values()]
    if donors:
        tables = {target: table.with_donors(donors) for target, table in tables.items()}
    how: dict[str, Any] = {"method": method, "n_shapes": n_shapes, "seed": seed}
    asked, facts = planned(
        workloads, **how, theta=theta, bits=bits, patterns=patterns, donors=donors
    )
    shapes = [w for w in asked if not all(w in rows for rows in known)]
    total = len(shapes) * len(tables)
    journals = [
        journal_path(paths[device.target]).with_suffix(f".journal{number}")
        for number, (_, device) in enumerate(devices)
    ]
    rows: dict[Target, list[Measurement]] = {target: [] for target in tables}
    done = 0

    def heard(_: Device, event: Event) -> None:
        if on_event is not None:
            fraction = done / max(1, total)
            on_event(replace(event, done=done, total=total, fraction=fraction))

    for target, row in profile_many(
        [device for _, device in devices],
        shapes,
        journals=journals,
        settings=settings,
        on_event=heard,
    ):
        rows[target].append(row)
        done += 1
    finished = {}
    for target, path in paths.items():
        table = tables[target].with_measurements(rows[target])
        environments = {spec: d.environment() for spec, d in devices if d.target == target}
        provenance = {**table.provenance, "plan": facts, "environments": environments}
        finished[path] = replace(table, provenance=provenance)
        finished[path].save(path)
    for journal in journals:
        journal.unlink(missing_ok=True)
    return finished
