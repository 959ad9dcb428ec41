"""What each op takes inside a model, as the runtime's own profiler says."""

from __future__ import annotations

import math
from dataclasses import dataclass

from latprof.errors import WorkloadError

__all__ = ["OpProfile", "OpTime"]


@dataclass(frozen=True)
class OpTime:
    """One op that the runtime ran.

    Args:
        name: as the runtime names it.
        op: its kind, as the runtime has it: ``Conv``, ``ReorderInput``.
        provider: what ran it: ``CPUExecutionProvider``.
        seconds: in one run of the model.
    """

    name: str
    op: str
    provider: str
    seconds: float

    def __post_init__(self) -> None:
        texts = all(isinstance(text, str) for text in (self.name, self.op, self.provider))
        number = isinstance(self.seconds, int | float) and not isinstance(self.seconds, bool)
        if not texts or not number or not 0 <= self.seconds < math.inf:
            raise WorkloadError(f"op time is {self!r}; expected texts and finite seconds >= 0")


@dataclass(frozen=True)
class OpProfile:
    """All ops of a model, and the model.

    Args:
        ops: in the order in which they first run.
        whole_s: one run of the model beside these, without the profiler.
        graph: what the runtime made of the file, in the file's format, without large weights.
        core_share: that these runs had; well below 1 where all were preempted.
    """

    ops: tuple[OpTime, ...]
    whole_s: float
    graph: bytes
    core_share: float = 1.0

    @property
    def ops_s(self) -> float:
        """Sum of all ops."""
        return sum(op.seconds for op in self.ops)
