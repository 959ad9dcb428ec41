"""The floor between a sample that keeps it and one that does not, closer with each sample."""

from __future__ import annotations

import itertools

from latprof.pipeline.search.samplers._observed import Observed
from latprof.pipeline.search.samplers._own import OwnSampler

__all__ = ["Bracket"]

#: A step of regula falsi stays this share of the bracket away from its ends.
_LEAST_STEP = 0.1
#: Between the deepest sample that passes and the end is nothing but the end itself.
_LAST_STEP = 0.05


class Bracket(OwnSampler):
    """Regula falsi and bisection in turns, between the deepest sample that passes the floor and the
    next one that does not.

    It takes the metric to fall along the way down. What passes is the metric less one standard
    error. Regula falsi alone creeps along a curve that is flat and then falls; bisection alone does
    not use how far off a sample is.

    Example:
        >>> import optuna
        >>> optuna.create_study(sampler=Bracket())  # doctest: +SKIP
    """

    def next(
        self, points: list[Observed], busy: list[float], number: int, *, maximized: bool
    ) -> float:
        passing = [p for p in points if p.margin >= 0 or p.progress == 0]
        low = max(passing, key=lambda p: p.progress)
        failing = [p for p in points if p.margin < 0 and p.progress > low.progress]
        high = min(failing, key=lambda p: p.progress, default=None)
        end = 1.0 if high is None else high.progress
        inside = sorted(b for b in busy if low.progress < b < end)
        if inside:  # half of the widest part that nobody is in
            edges = itertools.pairwise([low.progress, *inside, end])
            left, right = max(edges, key=lambda pair: pair[1] - pair[0])
            return (left + right) / 2
        width = end - low.progress
        if high is None and width < _LAST_STEP:
            return 1.0
        if high is None or number % 2 == 1:
            return low.progress + width / 2
        above = max(low.margin, 0.0)
        share = above / (above - high.margin)
        return low.progress + width * min(max(share, _LEAST_STEP), 1 - _LEAST_STEP)
