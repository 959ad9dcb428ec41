"""The adaptive plan: look at what was measured, then measure where it says most."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from latprof.errors import UsageError
from latprof.tables._family import Family, families_of
from latprof.tables.plan._plan import plan, weight_of
from latprof.workloads import Workload

__all__ = ["AdaptivePlan", "Oracle"]

#: The part of the shapes that fills space before anything is known, and each batch after it.
_FIRST, _BATCH = 0.4, 0.05

_CANDIDATES = 160  # per family
_REFERENCES = 60


class Oracle(Protocol):
    """What a plan asks of a fit. ``error``: its held-out MAPE."""

    @property
    def error(self) -> float: ...

    def step(self, family: Family, axis: int) -> int:
        """Counts between two steps of the latency along an axis (0: c_in, 1: c_out)."""

    def variance_reduction(
        self, candidates: Sequence[Workload], references: Sequence[Workload]
    ) -> NDArray[np.float64]:
        """(C, R) by how much the variance of each reference falls when a candidate is measured."""

    def fantasize(self, shape: Workload) -> Oracle:
        """The fit as it would be, had ``shape`` been measured and found as predicted."""


class AdaptivePlan:
    """Shapes in batches: ``first`` fills space; each ``next`` goes where one more measurement
    most lowers what is unsure of the model's ops, among random counts and both sides of steps.

    Args:
        workloads: the model's ops at full size.
        n_shapes: at most this many shapes in all.
        target_error: stop when the fit's held-out MAPE is at most this.
        seed: of everything random.

    ``stopped_by`` is ``error`` or ``shapes`` once ``next`` has returned nothing, else empty.
    """

    def __init__(
        self,
        workloads: Sequence[Workload],
        *,
        n_shapes: int = 200,
        target_error: float | None = None,
        seed: int = 0,
    ) -> None:
        if target_error is not None and not 0 < target_error < 1:
            raise UsageError(f"target error is {target_error!r}; expected a part, as in 0.03")
        self._families = families_of(workloads)
        self._weights = np.array([weight_of(f) for f in self._families])
        self._n_shapes, self._target_error = n_shapes, target_error
        self._rng = np.random.default_rng(seed)
        n_first = max(round(_FIRST * n_shapes), min(4 * len(self._families), n_shapes))
        self.first = plan(workloads, method="spread", n_shapes=n_first, seed=seed)
        self._asked = set(self.first)
        self.stopped_by = ""

    def next(self, oracle: Oracle) -> list[Workload]:
        """The next batch to measure; empty when the plan is done."""
        if self._target_error is not None and oracle.error <= self._target_error:
            self.stopped_by = "error"
            return []
        room = self._n_shapes - len(self._asked)
        batch: list[Workload] = []
        if room > 0:
            references, weights = self._references()
            candidates = self._candidates(oracle)
            for _ in range(min(room, max(round(_BATCH * self._n_shapes), 1), len(candidates))):
                reductions = oracle.variance_reduction(candidates, references) @ weights
                best = candidates.pop(int(np.argmax(reductions)))
                batch.append(best)
                oracle = oracle.fantasize(best)
            self._asked |= set(batch)
        if not batch:
            self.stopped_by = "shapes"
        return batch

    def _references(self) -> tuple[list[Workload], NDArray[np.float64]]:
        """Ops the model can come to have, and how much each matters: (R,)."""
        shapes, weights = [], []
        for family, weight in zip(self._families, self._weights, strict=True):
            drawn = [self._uniform(family) for _ in range(_REFERENCES)]
            shapes += drawn
            weights += [weight / len(drawn)] * len(drawn)
        return shapes, np.array(weights)

    def _candidates(self, oracle: Oracle) -> list[Workload]:
        """Shapes not asked for yet: random counts, half of them moved next to a step."""
        found: dict[Workload, None] = {}
        for family in self._families:
            steps = [oracle.step(family, axis) for axis in (0, 1)]
            for _ in range(_CANDIDATES):
                counts = np.array(self._uniform(family).channels, dtype=float)
                if self._rng.random() < 0.3:  # small counts are a corner of the uniform draw
                    counts = np.maximum(counts ** self._rng.random(2), 1)
                for axis, step in enumerate(steps):
                    if step > 1 and self._rng.random() < 0.5:
                        top = max(round(counts[axis] / step), 1) * step
                        counts[axis] = top + (self._rng.random() < 0.5)
                found[family.at(*counts)] = None
        return [shape for shape in found if shape not in self._asked]

    def _uniform(self, family: Family) -> Workload:
        return family.at(*self._rng.integers(1, (family.c_in, family.c_out), endpoint=True))
