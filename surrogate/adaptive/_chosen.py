"""Which few shapes to measure on a new target, given another target's fit."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from latprof.surrogate._shapes import Floats, Shapes, by_family, by_label
from latprof.surrogate._surrogate import Surrogate
from latprof.surrogate.methods import Change, Places
from latprof.tables import families_of, plan
from latprof.workloads import Workload

__all__ = ["chosen_for", "chosen_from"]

#: Shapes among which those to measure are chosen, and at least so many of each family.
_CANDIDATES, _PER_FAMILY = 200, 4


def chosen_for(
    workloads: Sequence[Workload], donor: Surrogate, *, n_shapes: int = 10, seed: int = 0
) -> list[Workload]:
    """Shapes to measure for a model with these full-size ops: those that tell most of how the
    donor's latencies change, where the model spends its time at the donor.

    Kinds of op that the donor does not have take up to half of the shapes, one each: the largest.

    Args:
        workloads: the model's ops at full size.
        donor: another target's fit.
        n_shapes: at most so many.
        seed: of the shapes that are chosen among.
    """
    families = families_of(workloads)
    strange = [f for f in families if f.member.label not in donor.labels]
    largest = {f.member.label: f.largest for f in sorted(strange, key=lambda f: f.largest.macs)}
    first = list(largest.values())[::-1][: -(-n_shapes // 2)]
    many = max(_CANDIDATES, _PER_FAMILY * len(families))
    candidates = [w for w in plan(workloads, n_shapes=many, seed=seed) if w.label in donor.labels]
    if not candidates:
        return first
    alike = by_family(candidates)
    weights = np.empty(len(candidates))
    for family in families:
        rows = alike.get(family.member.family, [])
        at_full_s = family.count * float(donor.predict([family.largest]).latency_s[0])
        weights[rows] = at_full_s / max(1, len(rows))
    return first + chosen_from(candidates, donor, weights, n_shapes - len(first))


def chosen_from(
    candidates: Sequence[Workload], donor: Surrogate, weights: Floats, n_shapes: int
) -> list[Workload]:
    """Those whose measurement most lowers what is unsure of all of them, one after the other.

    Args:
        candidates: ops of kinds that the donor has.
        donor: another target's fit.
        weights: (C,) how much each matters.
        n_shapes: at most so many.
    """
    places = _places(candidates, donor)
    change = Change.expected(places)
    chosen: list[int] = []
    for _ in range(min(n_shapes, len(candidates))):
        covariance = change.covariance(places, places)
        gain = (covariance**2 @ weights) / change.sd(places) ** 2
        gain[chosen] = -1.0
        chosen.append(int(np.argmax(gain)))
        change = change.with_row(places[np.array(chosen[-1:])])
    return [candidates[number] for number in chosen]


def _places(workloads: Sequence[Workload], donor: Surrogate) -> Places:
    order: list[int] = []
    parts = []
    for kind, (label, rows) in enumerate(by_label(workloads).items()):
        shapes = Shapes.of([workloads[row] for row in rows])
        parts.append(Places.of(donor.labels[label].law, shapes, kind))
        order += rows
    return Places.joined(parts)[np.argsort(order)]
