"""Static plans: which shapes of a model's families to measure, decided before measuring."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from latprof.errors import UsageError
from latprof.tables._family import Family, families_of
from latprof.workloads import Workload

__all__ = ["METHODS", "STEPS", "paper_axis", "plan", "weight_of"]

METHODS = ("spread", "paper", "grid")

#: Vector and tile widths met on CPUs, GPUs and phones; both sides of their multiples are of
#: interest before anything is known of a device.
STEPS = (8, 16, 32)


def plan(
    workloads: Sequence[Workload],
    *,
    method: str = "spread",
    n_shapes: int = 200,
    seed: int = 0,
    theta: int | None = None,
) -> list[Workload]:
    """Shapes to measure for a model with these full-size ops, largest shape of each family first.

    Each family ranges over 1..(its largest count) on both axes, which is where its groups can go.

    Args:
        workloads: the model's ops at full size.
        method: ``spread`` fills log space, with some shapes on both sides of multiples of STEPS,
            and gives a family shapes by its share of the model's work; ``paper`` is App. B.4 of
            Nasery et al. (see paper_axis); ``grid`` is an even lattice. See ``AdaptivePlan``
            for the plan that looks at what it measures.
        n_shapes: at most this many shapes; a family gets no fewer than its largest.
        seed: of ``spread``; the same seed gives the same plan.
        theta: of ``paper``: counts in its dense part, as far as ``n_shapes`` reaches; by default
            half of each axis.

    Raises:
        UsageError: unknown method, no workloads, fewer shapes than families, or theta of another
            method.
    """
    if theta is not None and (method != "paper" or theta < 1):
        raise UsageError(
            f"theta is {theta} with method {method}; expected 1 or more, with method paper"
        )
    families = _prepare(workloads, method, n_shapes)
    chosen: list[Workload] = []
    for number, (family, share) in enumerate(
        zip(families, _shares(families, n_shapes), strict=True)
    ):
        if method == "spread":
            shapes = _spread(family, share, np.random.default_rng([seed, number]))
        else:
            shapes = _lattice(family, share, method, theta)
        chosen += shapes
    return chosen


def paper_axis(largest: int, theta: int, midpoints: int) -> list[int]:
    """One axis of App. B.4: every count in (largest - theta, largest], and exponential midpoints.

    The midpoints: of (0, largest - theta] take the midpoint, make it the lower limit, and again.
    """
    dense = range(max(largest - theta, 0) + 1, largest + 1)
    low, high, sparse = 0.0, float(largest - theta), []
    for _ in range(midpoints):
        low = (low + high) / 2
        sparse.append(round(low))
    return sorted({*dense, *(s for s in sparse if s >= 1)})


def _prepare(workloads: Sequence[Workload], method: str, n_shapes: int) -> list[Family]:
    if method not in METHODS:
        raise UsageError(f"plan method is {method!r}; expected one of {', '.join(METHODS)}")
    families = families_of(workloads)
    if not families:
        raise UsageError("a plan needs the model's workloads; got none")
    if n_shapes < len(families):
        raise UsageError(
            f"{n_shapes} shapes for {len(families)} families of ops; "
            f"ask for at least {len(families)}, better {5 * len(families)}"
        )
    return families


def _shares(families: Sequence[Family], n_shapes: int) -> list[int]:
    """How many shapes each family gets: one, then by its weight, up to its size."""
    weight = np.array([weight_of(f) for f in families])
    room = np.array([_size(f) for f in families])
    shares = np.ones(len(families), dtype=int)
    for _ in range(min(n_shapes, int(room.sum())) - len(families)):
        shares[np.argmax(np.where(shares < room, weight / shares, -1.0))] += 1
    return [int(s) for s in shares]


def weight_of(family: Family) -> float:
    """How much a family matters to a plan: the cube root of its ops' work.

    Work is MACs plus bytes, a stand-in for time before anything is measured; the root keeps
    small families from starving, since their laws are no simpler. One axis needs less than two.
    """
    work = family.count * (family.largest.macs + 4.0 * _bytes(family.largest))
    # Ops that only move data have plain laws; a depthwise convolution's has cliffs.
    plain = family.tied and not family.member.depthwise
    return float(np.cbrt(work)) * (0.4 if plain else 1.0)


def _bytes(workload: Workload) -> int:
    return workload.weight_bytes + workload.activation_bytes


def _size(family: Family) -> int:
    """How many shapes it has."""
    along = []
    for limit in (family.c_in, family.c_out):
        least, most = family.nearest(1, limit), family.nearest(limit, limit)
        along.append((most - least) // family.step + 1)
    return along[1] if family.tied else along[0] * along[1]


def _spread(family: Family, share: int, rng: np.random.Generator) -> list[Workload]:
    """The largest shape, then scrambled Sobol points, log-uniform on each axis; the half of the
    coordinates is moved to the nearest multiple of one of STEPS, or one past it."""
    from scipy.stats import qmc  # a third of a second that loading a table does not need

    shapes = dict.fromkeys([family.largest])
    sobol = qmc.Sobol(2, rng=rng)
    while len(shapes) < share:
        before = len(shapes)
        for unit in sobol.random(2 ** max(share - 1, 1).bit_length()):
            counts = []
            for u, limit in zip(unit, (family.c_in, family.c_out), strict=True):
                # Half log-uniform, half uniform: most counts are large, laws bend at small ones.
                count = 0.5 * limit**u + 0.5 * (1 + u * (limit - 1))
                if rng.random() < 0.5:
                    step = int(rng.choice(STEPS))
                    count = max(round(count / step), 1) * step + int(rng.random() < 0.5)
                counts.append(count)
            shapes[family.at(*counts)] = None
            if len(shapes) == share:
                break
        if len(shapes) == before:  # nearly all of a small family are there
            shapes |= dict.fromkeys(_all(family))
    return list(shapes)[:share]


def _all(family: Family) -> list[Workload]:
    """Each shape of the family, the largest first."""
    outs = range(family.c_out, 0, -1)
    ins = [1] if family.tied else range(family.c_in, 0, -1)
    return list(dict.fromkeys(family.at(i, o) for o in outs for i in ins))


def _lattice(family: Family, share: int, method: str, theta: int | None) -> list[Workload]:
    """The product of the two axes, as many points per axis as the share allows."""
    per_axis = share if family.tied else max(math.isqrt(share), 1)
    axes = []
    for limit in (family.c_in, family.c_out):
        if method == "grid":
            axis = [limit * (i + 1) / per_axis for i in range(per_axis)]
        else:
            axis = [float(c) for c in paper_axis(limit, *_paper_split(per_axis, theta))]
        axes.append(axis[::-1])
    pairs = [(c, c) for c in axes[1]] if family.tied else [(i, o) for i in axes[0] for o in axes[1]]
    return list(dict.fromkeys(family.at(*pair) for pair in pairs))


def _paper_split(per_axis: int, theta: int | None) -> tuple[int, int]:
    """(theta, midpoints) that together make ``per_axis`` points."""
    dense = per_axis - per_axis // 2 if theta is None else min(theta, per_axis)
    return dense, per_axis - dense
