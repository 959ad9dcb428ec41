"""What a surrogate says of ops or of a whole model."""

from __future__ import annotations

from dataclasses import dataclass

from latprof.surrogate._shapes import Floats

__all__ = ["Prediction"]


@dataclass(frozen=True)
class Prediction:
    """Seconds with 90% intervals.

    Args:
        latency_s, lower_s, upper_s: (N,) for ops, () for a whole model.
        warnings: one line each; empty where everything was read inside what was measured.
    """

    latency_s: Floats
    lower_s: Floats
    upper_s: Floats
    warnings: tuple[str, ...] = ()
