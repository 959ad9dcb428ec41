"""The latency table: what was measured on one target."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from latprof.errors import TableError
from latprof.vocabulary import Measurement, Target, Timing
from latprof.workloads import Workload, workload_from_dict

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["LatencyTable", "ModelMeasurement"]


@dataclass(frozen=True, kw_only=True)
class ModelMeasurement(Timing):
    """A whole model's timing, with the ops it is made of; it calibrates the composition."""

    name: str
    workloads: tuple[Workload, ...]

    def to_dict(self) -> dict[str, Any]:
        ops = [w.to_dict() for w in self.workloads]
        return {"name": self.name, "workloads": ops, **super().to_dict()}

    @classmethod
    def _fields(cls, data: Mapping[str, Any]) -> dict[str, Any]:
        ops = tuple(workload_from_dict(w) for w in data["workloads"])
        return {"name": data["name"], "workloads": ops, **super()._fields(data)}


@dataclass(frozen=True)
class LatencyTable:
    """Measurements of one target, in the order they came.

    Args:
        target: the one target every row was measured on.
        measurements: one per workload; ``check`` reports where a file holds more.
        models: whole models measured on the same target.
        provenance: JSON-ready facts about how the rows came to be (knobs, versions, commands).
    """

    target: Target
    measurements: tuple[Measurement, ...] = ()
    models: tuple[ModelMeasurement, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def __len__(self) -> int:
        return len(self.measurements)

    @property
    def usable(self) -> tuple[Measurement, ...]:
        """The last usable measurement of each workload: what a fit may read."""
        last = {m.workload: m for m in self.measurements if m.usable}
        return tuple(last.values())

    @property
    def usable_models(self) -> tuple[ModelMeasurement, ...]:
        return tuple(m for m in self.models if m.usable)

    def with_measurements(self, measurements: Iterable[Measurement]) -> Self:
        """This table with rows added. A row replaces the row of its workload that is there,
        except that an unusable one never replaces a usable one."""
        rows = {m.workload: m for m in self.measurements}
        for new in measurements:
            old = rows.get(new.workload)
            if old is None or new.usable or not old.usable:
                rows[new.workload] = new
        return replace(self, measurements=tuple(rows.values()))

    def with_models(self, models: Iterable[ModelMeasurement]) -> Self:
        """This table with whole-model rows added; equal names and ops are replaced."""
        rows = {(m.name, m.workloads): m for m in (*self.models, *models)}
        return replace(self, models=tuple(rows.values()))

    def merge(self, other: LatencyTable) -> Self:
        """Both tables' rows; of a workload in both, the more recently measured usable row stays.

        Raises:
            TargetMismatchError: the tables are of different targets.
        """
        self.target.require(other.target, "the table to merge")
        rows = sorted((*self.measurements, *other.measurements), key=lambda m: m.measured_at)
        provenance = {**other.provenance, **self.provenance}
        merged = replace(self, measurements=(), provenance=provenance)
        return merged.with_measurements(rows).with_models(other.models)

    def without(self, workloads: Iterable[Workload]) -> Self:
        """This table without these workloads' rows."""
        gone = set(workloads)
        return replace(
            self, measurements=tuple(m for m in self.measurements if m.workload not in gone)
        )

    def to_frame(self) -> pd.DataFrame:
        """One row per measurement: the workload's fields, figures in seconds, status."""
        from latprof.tables._rows import frame

        return frame(self)

    def save(self, path: str | Path) -> Path:
        """Write Parquet atomically: a reader sees the old file or the whole new one."""
        from latprof.tables._parquet import save

        return save(self, Path(path))

    @classmethod
    def load(cls, path: str | Path) -> LatencyTable:
        """Read a file that ``save`` wrote.

        Raises:
            TableError: missing, not Parquet, truncated, corrupt, not a table of ours, or of a
                version this latprof does not know.
        """
        from latprof.tables._parquet import load

        return load(Path(path))

    def require_rows(self, what: str) -> None:
        """Raise TableError where no row is usable."""
        if not self.usable:
            raise TableError(
                f"{what}: the table of {self.target} has {len(self)} rows and none is usable; "
                "measure shapes with: latprof profile"
            )
