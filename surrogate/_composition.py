"""From ops measured alone to a whole model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from latprof.surrogate._shapes import Floats

__all__ = ["Composition"]

#: Ops added up miss whole models by up to about this part where nothing calibrates them.
_UNCALIBRATED = 0.15


@dataclass(frozen=True)
class Composition:
    """latency = sum over ops of (factor of its label x latency alone + per_op_s) + constant_s.

    Args:
        factors: of the labels that were calibrated; others are 1. A fused elementwise op has a
            factor near 0.
        per_op_s: dispatch of an op inside a model beyond what it has alone; may be negative,
            since an op alone pays for a call.
        constant_s: of a call.
        relative_error: half-width of the 90% interval, as a part of the latency.
        held_out: (predicted, measured) seconds of each calibrating model by the others, (K, 2).
    """

    factors: Mapping[str, float] = field(default_factory=dict)
    per_op_s: float = 0.0
    constant_s: float = 0.0
    relative_error: float = _UNCALIBRATED
    held_out: tuple[tuple[float, float], ...] = ()

    def contributions_s(self, labels: Sequence[str], alone_s: Floats) -> Floats:
        """(N,) seconds of each op inside a model."""
        factors = np.array([self.factors.get(label, 1.0) for label in labels])
        return np.asarray(np.maximum(factors * alone_s + self.per_op_s, 0.0))

    def latency_s(self, labels: Sequence[str], alone_s: Floats) -> float:
        return float(self.contributions_s(labels, alone_s).sum() + self.constant_s)

    def half_width_s(self, labels: Sequence[str], alone_s: Floats, half_s: Floats) -> float:
        """Half-width of the 90% interval, from the ops' and from composition."""
        factors = np.array([self.factors.get(label, 1.0) for label in labels])
        composed = self.relative_error * self.latency_s(labels, alone_s)
        # Calibrated, the held-out error holds the ops' own errors already.
        ops = 0.0 if self.held_out else float(np.sqrt(((factors * half_s) ** 2).sum()))
        return float(np.hypot(composed, ops))
