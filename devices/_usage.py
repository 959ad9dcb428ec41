"""What a model file takes on a device beside time: memory and energy."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from latprof.errors import WorkloadError

__all__ = ["Usage"]

_FIGURES = {"memory": "memory_bytes", "arena": "arena_bytes", "energy": "energy_j"}


@dataclass(frozen=True)
class Usage:
    """Memory and energy of one model file on a device.

    Args:
        memory_bytes: how far the resident memory of a fresh process rises, at its peak, while it
            loads the file and runs it: weights, what the runtime makes of them, activations.
        arena_bytes: what the runtime's arena, which holds activations, has grown to.
        energy_j: joules per inference, of the whole CPU package or GPU.
        missing: {``memory``, ``arena`` or ``energy``: why that figure, which is None, is not
            available}.
    """

    memory_bytes: float | None = None
    arena_bytes: float | None = None
    energy_j: float | None = None
    missing: Mapping[str, str] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        for name, attribute in _FIGURES.items():
            value = getattr(self, attribute)
            number = isinstance(value, int | float) and not isinstance(value, bool)
            known = number and 0 <= value < math.inf
            if known == (name in self.missing) or not (known or value is None):
                raise WorkloadError(
                    f"{attribute} is {value!r}; expected a finite number of at least 0, or a "
                    "reason why there is none"
                )

    @classmethod
    def unknown(cls, why: str) -> Usage:
        """Nothing is available, for one reason."""
        return cls(missing=dict.fromkeys(_FIGURES, why))

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)
