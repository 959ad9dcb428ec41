"""Measuring by an adaptive plan: fit, ask, measure, and again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from latprof.surrogate._fit import fit
from latprof.surrogate._shapes import Floats, Shapes, by_label
from latprof.surrogate._surrogate import Surrogate
from latprof.surrogate.methods import TileLaw
from latprof.tables import AdaptivePlan, Family, LatencyTable
from latprof.vocabulary import Measurement
from latprof.workloads import Workload

__all__ = ["SurrogateOracle", "measure_adaptively"]


def measure_adaptively(
    adaptive: AdaptivePlan,
    table: LatencyTable,
    measure: Callable[[Sequence[Workload]], Iterable[Measurement]],
    *,
    seed: int = 0,
) -> LatencyTable:
    """Follow the plan to its end, with ``measure`` standing for the device.

    Rows the table holds are not measured again. ``adaptive.stopped_by`` says why it ended.
    """
    batch = adaptive.first
    while batch:
        known = {m.workload for m in table.usable}
        table = table.with_measurements(measure([w for w in batch if w not in known]))
        batch = adaptive.next(SurrogateOracle(fit(table, method="tile", seed=seed)))
    return table


@dataclass(frozen=True)
class SurrogateOracle:
    """A surrogate as latprof.tables.Oracle."""

    surrogate: Surrogate

    @property
    def error(self) -> float:
        errors = [f.held_out.errors for f in self.surrogate.labels.values() if f.held_out]
        return float(np.abs(np.concatenate(errors)).mean()) if errors else 1.0

    def step(self, family: Family, axis: int) -> int:
        return self.surrogate.step(family, axis)

    def variance_reduction(
        self, candidates: Sequence[Workload], references: Sequence[Workload]
    ) -> Floats:
        """Zero across labels, whose laws know nothing of each other, and where a label has too
        few rows for a law that could tell."""
        reductions = np.zeros((len(candidates), len(references)))
        for label, rows in by_label(candidates).items():
            columns = by_label(references).get(label, [])
            law = self.surrogate.labels[label].law
            if columns and isinstance(law, TileLaw):
                reductions[np.ix_(rows, columns)] = law.variance_reduction(
                    Shapes.of([candidates[i] for i in rows]),
                    Shapes.of([references[i] for i in columns]),
                )
        return reductions

    def fantasize(self, shape: Workload) -> SurrogateOracle:
        fitted = self.surrogate.labels[shape.label]
        if not isinstance(fitted.law, TileLaw):
            return self
        law = fitted.law.fantasize(Shapes.of([shape]))
        labels = {**self.surrogate.labels, shape.label: replace(fitted, law=law)}
        return SurrogateOracle(replace(self.surrogate, labels=labels))
