"""Groups: channels that are removed one for one, and whose every trace is alike."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from latprof.errors import UsageError
from latprof.workloads import Workload

__all__ = ["CountedOp", "Group", "ParameterSlice"]


@dataclass(frozen=True)
class ParameterSlice:
    """The part of one parameter that belongs to one group.

    Args:
        name: the parameter's (or buffer's) name.
        dim: the dim that is cut.
        index: (size of the dim,) int64: the unit that each slice belongs to, -1 for slices of
            other groups (as after a concat) and slices that always stay.
    """

    name: str
    dim: int
    index: torch.Tensor

    def __str__(self) -> str:
        return f"{self.name}[{self.dim}]"


@dataclass(frozen=True)
class Group:
    """Units (channels, heads, ...) across layers that are kept or removed together, one by one.

    Args:
        index: position in ``Graph.groups``.
        name: module that makes the channels.
        size: number of units.
        unit: channels per unit: 1, or the width of a head.
        minimum: fewest units to keep.
        divisor: keep a multiple of it.
        prunable: False where ``reason`` says why every unit stays.
        readers: weights that multiply the channels: where masks sit.
        writers: weights, biases and statistics that are cut along with them.
    """

    index: int
    name: str
    size: int
    unit: int
    minimum: int
    divisor: int
    prunable: bool
    reason: str
    readers: tuple[ParameterSlice, ...]
    writers: tuple[ParameterSlice, ...]

    def __post_init__(self) -> None:
        least = 0 if self.size == 1 else 1  # a single unit goes as a whole, or stays
        if not least <= self.minimum <= self.size or self.divisor < 1:
            raise UsageError(
                f"group {self.name}: minimum is {self.minimum} and divisor {self.divisor}; "
                f"expected {least} <= minimum <= {self.size} and divisor >= 1"
            )


@dataclass(frozen=True)
class CountedOp:
    """One op of the graph.

    Args:
        module: path of the module that ran it.
        workload: at full size.
        mixing: per side (in, out), {group index: channels per unit}.
        offset: per side, channels that always stay.
    """

    module: str
    workload: Workload
    mixing: tuple[dict[int, int], dict[int, int]]
    offset: tuple[int, int]
