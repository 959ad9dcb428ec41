"""The contents of a latency table, as its files hold them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from latprof.vocabulary import Measurement, Target, Timing
from latprof.workloads import Workload, workload_from_dict

__all__ = ["ModelMeasurement", "TableData"]


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
class TableData:
    """What a table file holds: measurements of one target, in the order they came.

    Args:
        target: the one target every row was measured on.
        measurements: one per workload; ``check`` reports where a file holds more.
        models: whole models measured on the same target.
        provenance: JSON-ready facts about how the rows came to be (knobs, versions, commands).
        donors: tables of other targets, whose fits are moved to these rows; they have no donors.
    """

    target: Target
    measurements: tuple[Measurement, ...] = ()
    models: tuple[ModelMeasurement, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict, hash=False)
    donors: tuple[TableData, ...] = ()
