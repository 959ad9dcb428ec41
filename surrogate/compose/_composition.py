"""From ops measured alone to a whole model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from latprof.surrogate._shapes import Floats, Shapes

__all__ = ["LOST", "Composition"]

#: A cache keeps what is touched in turn, over and over, up to its size and has lost all from three
#: times of it: this times (1 - size / touched).
LOST = 1.5

#: Nine in ten whole models are off by up to this part where nothing calibrates the composition.
_UNCALIBRATED = 0.65


@dataclass(frozen=True)
class Composition:
    """latency = sum over ops of (factor of its label x latency alone + traffic) + per-call cost.

    An op alone finds its weights where its last call left them. Inside a model other ops have used
    the caches since, for weights and activations, and the weights they lost are loaded anew.

    Args:
        factors: of the labels that were calibrated; others are 1. A fused op has a factor near 0.
        per_byte_s: (weights loaded anew, activations): what bytes cost beside the time alone.
        cache_bytes: what a call may touch for the near cache to keep it all until the next; None
            where that is not known: then a model loads all its weights anew, and an op alone none.
        per_op_s: dispatch of an op inside a model, beyond what it pays alone; negative where an op
            alone pays for a call.
        constant_s: of a call.
        relative_error: half-width of the 90% interval, as a part of the latency.
        held_out: (predicted, measured, ops added up) seconds of each calibrating model, predicted
            from the others, (K, 3).
    """

    factors: Mapping[str, float] = field(default_factory=dict)
    per_byte_s: tuple[float, float] = (0.0, 0.0)
    cache_bytes: float | None = None
    per_op_s: float = 0.0
    constant_s: float = 0.0
    relative_error: float = _UNCALIBRATED
    held_out: tuple[tuple[float, float, float], ...] = ()

    def reload_fraction(self, touched_bytes: float) -> float:
        """The part of its weights that a model loads anew whose ops touch so many bytes: 0 where
        the near cache keeps all of them from one call to the next."""
        if self.cache_bytes is None:
            return 1.0
        return float(_lost(np.array(touched_bytes), self.cache_bytes))

    def loaded_bytes(
        self, weight_bytes: Floats, touched_bytes: Floats, reload_fraction: float
    ) -> Floats:
        """(N,) bytes of weights that ops load inside a model, beyond what they load alone."""
        alone = 0.0 if self.cache_bytes is None else _lost(touched_bytes, self.cache_bytes)
        return np.asarray(weight_bytes * (reload_fraction - alone))

    def shares_s(
        self, label: str, alone_s: Floats, shapes: Shapes, reload_fraction: float
    ) -> Floats:
        """(N,) seconds that follow the counts of a label's ops inside a model.

        Args:
            alone_s: (N,) seconds alone.
            reload_fraction: of the model.
        """
        per_weight, per_activation = self.per_byte_s
        loaded = self.loaded_bytes(shapes.weight_bytes, shapes.touched_bytes, reload_fraction)
        bytes_s = per_weight * loaded + per_activation * shapes.activation_bytes
        return np.asarray(self.factors.get(label, 1.0) * alone_s + bytes_s)

    def fixed_s(self, n_ops: int) -> float:
        """Seconds that no count changes."""
        return self.constant_s + self.per_op_s * n_ops

    def half_width_s(self, latency_s: float, half_s: Floats) -> float:
        """Half-width of the whole model's 90% interval, of the ops' own half-widths (N,)."""
        composed = self.relative_error * latency_s
        # Calibrated, the held-out error holds the ops' own errors already.
        return float(composed if self.calibrated else np.hypot(composed, np.linalg.norm(half_s)))

    @property
    def calibrated(self) -> bool:
        """Whether whole models of the target were measured to learn how ops add up."""
        return bool(self.held_out)

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


def _lost(touched_bytes: Floats, cache_bytes: float) -> Floats:
    """The part of what is touched that a cache of this size has lost by its next use."""
    return np.clip(LOST * (1 - cache_bytes / np.maximum(touched_bytes, 1.0)), 0.0, 1.0)
