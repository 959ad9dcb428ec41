"""Budgets as people write them: ``5 ms``, ``250us``, ``0.005 s``, ``60%``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

from latprof._errors import InfeasibleBudgetError, UsageError
from latprof._units import format_s

__all__ = ["Budget", "Reach"]

_UNITS_S = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}


@dataclass(frozen=True)
class Reach:
    """What latencies a model can be given, seconds, by the surrogate.

    Args:
        least_s: every group at its minimum.
        full_s: every group at its full size.
    """

    least_s: float
    full_s: float


@dataclass(frozen=True)
class Budget:
    """A latency to stay under: absolute seconds, or a fraction of the original's latency."""

    text: str
    latency_s: float | None = None
    fraction: float | None = None

    @classmethod
    def parse(cls, text: str | float) -> Self:
        """From ``5 ms`` or ``60%``; a bare number is seconds. Raises UsageError otherwise."""
        match = re.fullmatch(r"\s*([0-9.]+(?:e-?\d+)?)\s*(%|s|ms|us|ns)?\s*", str(text))
        try:
            number = float(match[1]) if match else 0.0
        except ValueError:
            number = 0.0
        if match is None or number <= 0:
            raise UsageError(
                f"budget is {text!r}; expected a latency like '5 ms' or a share like '60%'"
            )
        if match[2] == "%":
            return cls(str(text), fraction=number / 100)
        return cls(str(text), latency_s=number * _UNITS_S[match[2] or "s"])

    def resolve(self, reach: Reach, original_s: float | None = None) -> float:
        """Seconds to stay under.

        Args:
            original_s: the original's measured latency, where there is one; else the predicted.

        Raises:
            InfeasibleBudgetError: not below the original, or below what any width reaches.
        """
        full_s = reach.full_s if original_s is None else original_s
        least_s = reach.least_s * full_s / reach.full_s
        wanted_s = self.latency_s if self.latency_s is not None else (self.fraction or 0.0) * full_s
        reachable = (
            f"reachable: {format_s(least_s)} to {format_s(full_s)} ({least_s / full_s:.0%} to 100%)"
        )
        if wanted_s >= full_s:
            raise InfeasibleBudgetError(
                f"budget {self.text} is {format_s(wanted_s)}, and the original already takes "
                f"{format_s(full_s)}; {reachable}"
            )
        if wanted_s < least_s:
            raise InfeasibleBudgetError(
                f"budget {self.text} is {format_s(wanted_s)}, less than the least that pruning "
                f"reaches; {reachable}"
            )
        return wanted_s
