"""What of a model's activations is held at once, op by op, at any widths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

__all__ = ["MemoryStep"]


@dataclass(frozen=True)
class MemoryStep:
    """The activations that are held while one op runs: those that it reads and makes, and those
    that later ops will read. Their size is linear in the counts of units.

    Args:
        module: path of the module that runs it.
        per_unit: {group index: bytes of each of its units}.
        offset: bytes of what always stays.
    """

    module: str
    per_unit: Mapping[int, float]
    offset: float

    def bytes_at(self, counts: Sequence[float]) -> float:
        """At these counts of the graph's groups."""
        return self.offset + sum(each * counts[g] for g, each in self.per_unit.items())
