"""The workloads of one model, and what is in none of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import overload

from latprof.workloads._workload import Workload

__all__ = ["ModelWorkloads"]


@dataclass(frozen=True, eq=False)
class ModelWorkloads(Sequence[Workload]):
    """Workloads in the order in which they run; a sequence of them.

    Args:
        workloads: one per op that takes time.
        unread: {op: how many}: ops that take time but are in no workload, so in no figure.
        assumed: what was taken for granted, a sentence each.
    """

    workloads: tuple[Workload, ...]
    unread: Mapping[str, int] = field(default_factory=dict)
    assumed: tuple[str, ...] = ()

    @property
    def note(self) -> str:
        """What a reader of any figure must know, in one line; empty where there is nothing."""
        ops = ", ".join(f"{count} {op}" for op, count in self.unread.items())
        return "; ".join(([f"in no figure: {ops}"] if ops else []) + list(self.assumed))

    def __len__(self) -> int:
        return len(self.workloads)

    @overload
    def __getitem__(self, index: int) -> Workload: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Workload, ...]: ...
    def __getitem__(self, index: int | slice) -> Workload | tuple[Workload, ...]:
        return self.workloads[index]
