"""The shapes of a profile, where they can be known before anything is measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from latprof.errors import UsageError
from latprof.surrogate import chosen_for, fit
from latprof.tables import LatencyTable, few_bits, in_pattern, plan
from latprof.workloads import Workload

__all__ = ["WITH_DONORS", "planned"]

WITH_DONORS = "method is {!r} with donors, whose fit chooses the shapes; leave the method out"


def planned(
    workloads: Sequence[Workload],
    *,
    method: str,
    n_shapes: int,
    seed: int,
    theta: int | None = None,
    bits: Sequence[int] = (),
    patterns: Sequence[str] = (),
    donors: Sequence[LatencyTable] = (),
) -> tuple[list[Workload], dict[str, Any]]:
    """The shapes, and the facts of the plan, JSON-ready.

    Args:
        donors: tables of other targets; the first one's fit chooses the shapes.

    Raises:
        UsageError: donors with another method than ``spread``; see ``plan`` for the rest.
    """
    facts: dict[str, Any] = {"method": method, "n_shapes": n_shapes, "seed": seed}
    if donors:
        if method != "spread" or theta is not None:
            raise UsageError(WITH_DONORS.format(method))
        facts |= {"method": "chosen", "donors": [d.target.to_dict() for d in donors]}
        shapes = chosen_for(workloads, fit(donors[0], seed=seed), n_shapes=n_shapes, seed=seed)
    else:
        shapes = plan(workloads, method=method, n_shapes=n_shapes, seed=seed, theta=theta)
    facts |= {"theta": theta} if theta is not None else {}
    facts |= {"bits": list(bits)} if bits else {}
    facts |= {"patterns": list(patterns)} if patterns else {}
    known = set(shapes)
    besides = [*few_bits(shapes, bits), *in_pattern(shapes, patterns)]
    return [*shapes, *(w for w in besides if w not in known)], facts
