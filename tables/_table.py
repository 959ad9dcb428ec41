"""The latency table: what was measured on one target."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Self

from latprof.errors import TableError, TargetMismatchError
from latprof.tables import _parquet, _rows
from latprof.tables._data import ModelMeasurement, TableData
from latprof.tables._payoff import Payoff, payoff
from latprof.vocabulary import Measurement
from latprof.workloads import Workload

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["LatencyTable"]


class LatencyTable(TableData):
    """Measurements of one target, in the order they came; see TableData for its fields.

    table = LatencyTable.load("local.parquet")
    for row in table.usable:
        print(row.workload, row.latency_s)  # seconds per call
    table.to_frame()                        # pandas, one row per measurement
    both = table.merge(LatencyTable.load("more.parquet"))
    both.save("both.parquet")
    """

    @classmethod
    def of(cls, data: TableData) -> Self:
        """A table of these rows."""
        return cls(data.target, data.measurements, data.models, data.provenance, data.donors)

    def __len__(self) -> int:
        return len(self.measurements)

    @property
    def usable(self) -> tuple[Measurement, ...]:
        """The last usable measurement of each workload: what a fit may read."""
        last = {m.workload: m for m in self.measurements if m.usable}
        return tuple(last.values())

    @property
    def duplicates(self) -> dict[Workload, int]:
        """Workloads that have more than one row, and how many; ``usable`` holds the last."""
        counts = Counter(m.workload for m in self.measurements)
        return {workload: count for workload, count in counts.items() if count > 1}

    @property
    def usable_models(self) -> tuple[ModelMeasurement, ...]:
        return tuple(m for m in self.models if m.usable)

    def with_measurements(self, measurements: Iterable[Measurement]) -> Self:
        """This table with rows added, one row per workload. A row replaces the one before it,
        except that an unusable one never replaces a usable one."""
        rows: dict[Workload, Measurement] = {}
        for new in (*self.measurements, *measurements):
            old = rows.get(new.workload)
            if old is None or new.usable or not old.usable:
                rows[new.workload] = new
        return replace(self, measurements=tuple(rows.values()))

    def with_models(self, models: Iterable[ModelMeasurement]) -> Self:
        """This table with whole-model rows added; equal names and ops are replaced."""
        rows = {(m.name, m.workloads): m for m in (*self.models, *models)}
        return replace(self, models=tuple(rows.values()))

    def with_donors(self, donors: Iterable[TableData]) -> Self:
        """This table with these donors in place of its own, and with those that they have.

        Raises:
            TargetMismatchError: a donor is of this table's own target.

        Example:
            >>> ten = LatencyTable.load("new.parquet")                     # doctest: +SKIP
            >>> ten.with_donors([LatencyTable.load("old.parquet")]).save("new.parquet")
            ... # doctest: +SKIP
        """
        given = list(donors)
        for donor in given:
            if donor.target == self.target:
                raise TargetMismatchError(
                    f"the donor is of the table's own target, {donor.target}; put their rows "
                    "together with: latprof table merge"
                )
        theirs = [d for donor in given for d in donor.donors if d.target != self.target]
        alone = [TableData(d.target, d.measurements, d.models, d.provenance) for d in given]
        return replace(self, donors=tuple({d.target: d for d in (*theirs, *alone)}.values()))

    def merge(self, other: LatencyTable) -> Self:
        """Both tables' rows; of a workload in both, the more recently measured usable row stays.

        Raises:
            TargetMismatchError: the tables are of different targets.
        """
        self.target.require(other.target, "the table to merge")
        rows = sorted((*self.measurements, *other.measurements), key=lambda m: m.measured_at)
        provenance = {**other.provenance, **self.provenance}
        donors = {d.target: d for d in (*other.donors, *self.donors)}
        merged = replace(
            self, measurements=(), provenance=provenance, donors=tuple(donors.values())
        )
        return merged.with_measurements(rows).with_models(other.models)

    def without(self, workloads: Iterable[Workload]) -> Self:
        """This table without these workloads' rows."""
        gone = set(workloads)
        return replace(
            self, measurements=tuple(m for m in self.measurements if m.workload not in gone)
        )

    def pays(self, dtype: str, workload: Workload) -> Payoff:
        """Whether an op takes less time in another type than in float32, by rows of this table.

        The shape itself counts where it was measured in both types; else shapes of its family with
        at most twice or half its channels, which must agree.

        Args:
            dtype: ``int8``, ``float16``, ``bfloat16`` and so on; of the weights alone of a linear
                layer ``int4`` and ``int2``, or ``w8``, and ``2:4``, where half of them are zeros.
            workload: the op.

        Raises:
            UsageError: no such type.

        Example:
            >>> table = LatencyTable.load("local.parquet")         # doctest: +SKIP
            >>> str(table.pays("int8", Conv2d(14, 14, 64, 64)))    # doctest: +SKIP
            'yes, 0.41 of the time (measured at this shape)'
        """
        return payoff(self.usable, dtype, workload)

    def to_frame(self) -> pd.DataFrame:
        """One row per measurement: the workload's fields, figures in seconds, status."""
        return _rows.frame(self)

    def save(self, path: str | Path) -> Path:
        """Write Parquet atomically: a reader sees the old file or the whole new one."""
        return _parquet.save(self, Path(path))

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a file that ``save`` wrote.

        Raises:
            TableError: missing, not Parquet, truncated, corrupt, not a table of ours, or of a
                version this latprof does not know.
        """
        return cls.of(_parquet.load(Path(path)))

    def require_rows(self, what: str) -> None:
        """Raise TableError where no row is usable."""
        if not self.usable:
            raise TableError(
                f"{what}: the table of {self.target} has {len(self)} rows and none is usable; "
                "measure shapes with: latprof profile"
            )
