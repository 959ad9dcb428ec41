"""From ops measured alone to a whole model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from latprof.surrogate._shapes import Floats, Shapes

__all__ = ["Composition"]

#: Whole models are missed by up to about this part where nothing calibrates the composition.
_UNCALIBRATED = 0.30


@dataclass(frozen=True)
class Composition:
    """latency = sum over ops of (factor of its label x latency alone + traffic) + per-call cost.

    Args:
        factors: of the labels that were calibrated; others are 1. A fused op has a factor near 0.
        per_byte_s: (weights, activations): what an op's bytes cost beside its time alone, since
            inside a model other ops have used the caches.
        per_op_s: dispatch of an op inside a model, beyond what it pays alone; negative where an op
            alone pays for a call.
        constant_s: of a call.
        relative_error: half-width of the 90% interval, as a part of the latency.
        held_out: (predicted, measured, ops added up) seconds of each calibrating model, predicted
            from the others, (K, 3).
    """

    factors: Mapping[str, float] = field(default_factory=dict)
    per_byte_s: tuple[float, float] = (0.0, 0.0)
    per_op_s: float = 0.0
    constant_s: float = 0.0
    relative_error: float = _UNCALIBRATED
    held_out: tuple[tuple[float, float, float], ...] = ()

    def shares_s(self, label: str, alone_s: Floats, shapes: Shapes) -> Floats:
        """(N,) seconds that follow the counts of a label's ops inside a model.

        Args:
            alone_s: (N,) seconds alone.
        """
        per_weight, per_activation = self.per_byte_s
        traffic_s = per_weight * shapes.weight_bytes + per_activation * shapes.activation_bytes
        return np.asarray(self.factors.get(label, 1.0) * alone_s + traffic_s)

    def fixed_s(self, n_ops: int) -> float:
        """Seconds that no count changes."""
        return self.constant_s + self.per_op_s * n_ops

    def half_width_s(self, latency_s: float, half_s: Floats) -> float:
        """Half-width of the whole model's 90% interval, of the ops' own half-widths (N,)."""
        composed = self.relative_error * latency_s
        # Calibrated, the held-out error holds the ops' own errors already.
        return float(composed if self.held_out else np.hypot(composed, np.linalg.norm(half_s)))

    @property
    def mape(self) -> float:
        """Of the calibrating models, each predicted from the others; NaN where there are none."""
        return self._mape(0)

    @property
    def uncalibrated_mape(self) -> float:
        """Of the same models with their ops added up."""
        return self._mape(2)

    def _mape(self, column: int) -> float:
        if not self.held_out:
            return float("nan")
        seconds = np.array(self.held_out)
        return float(np.abs(seconds[:, column] / seconds[:, 1] - 1).mean())
