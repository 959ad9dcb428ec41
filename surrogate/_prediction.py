"""A surrogate's prediction of ops or of a whole model."""

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
        calibrated: of a whole model, whether whole models of the target were measured to learn how
            ops add up; of ops False.
    """

    latency_s: Floats
    lower_s: Floats
    upper_s: Floats
    warnings: tuple[str, ...] = ()
    calibrated: bool = False

    @property
    def note(self) -> str:
        """A sentence on how far a whole model's figure can be trusted; empty where calibrated."""
        if self.calibrated:
            return ""
        return (
            "not calibrated: no whole model of this target was measured, so how ops add up is "
            "assumed; for a narrower interval: latprof fit TABLE --calibrate MODEL"
        )
