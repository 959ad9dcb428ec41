"""Transfer: a law of another target's, moved to a few rows of this one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np

from latprof.surrogate._shapes import Floats, Shapes
from latprof.surrogate.methods._blend import BlendLaw
from latprof.surrogate.methods._gp import GaussianProcess
from latprof.surrogate.methods._law import Law
from latprof.surrogate.methods._physics_gp import PhysicsGPLaw
from latprof.surrogate.methods._tile import MAX_LOG_RESIDUAL, SESSION, TileLaw, log_sizes
from latprof.surrogate.methods._waves import WaveBase
from latprof.workloads import Workload

__all__ = ["TransferLaw"]

#: Deviations of the slopes over logs of the donor's latency, of arithmetic and of bytes, and of
#: what the line leaves of a row: between two devices of a kind each is a tenth or so.
_SLOPE, _ROW = 0.1, 0.1


@dataclass(frozen=True)
class TransferLaw(Law):
    """log latency = the donor's + what the model of many processors says of the change + a line in
    the logs of the donor's latency, of arithmetic and of bytes + a Gaussian process over log sizes.
    All but the level are drawn to the donor: with few rows it is the donor at another speed.

    Args:
        donor: fitted to the other target's rows.
        before, after: the donor's model of many processors, and the same moved to this target's
            rows; None where the donor is no device of that kind.
        names: of the log sizes that vary in the fitted rows.
        center: (3,) of the line's features.
        line: (4,) level and slopes.
        residual: over log sizes.
    """

    donor: Law
    before: WaveBase | None
    after: WaveBase | None
    names: tuple[str, ...]
    center: Floats
    line: Floats
    residual: GaussianProcess

    takes_many_rows: ClassVar[bool] = True

    @classmethod
    def fit(
        cls, shapes: Shapes, latency_s: Floats, *, seed: int = 0, donor: Law | None = None
    ) -> Self:
        """Args:
        donor: the law to move; it must be given.
        """
        if donor is None:
            raise TypeError("a transfer has a donor")
        before = _waves_of(donor)
        after = before.of_kind(shapes, latency_s) if before is not None else None
        names = tuple(n for n, column in log_sizes(shapes).items() if np.ptp(column) > 1e-9)
        center, line, y = _straight(donor, before, after, shapes, latency_s)
        residual = GaussianProcess.fit(_sizes(names, shapes), _none(shapes), y, seed=seed)
        return cls(donor, before, after, names, center, line, residual)

    def refit(self, shapes: Shapes, latency_s: Floats) -> Self:
        return self.fit(shapes, latency_s, donor=self.donor)

    def conditioned(self, shapes: Shapes, latency_s: Floats) -> Self:
        y = np.log(latency_s) - self._straight(shapes)
        x, p = _sizes(self.names, shapes), _none(shapes)
        return replace(self, residual=replace(self.residual, x=x, p=p, y=y))

    def latency_s(self, shapes: Shapes) -> Floats:
        straight = self._straight(shapes)
        moved = self.residual.mean(_sizes(self.names, shapes), _none(shapes))
        return np.asarray(np.exp(straight + np.clip(moved, -MAX_LOG_RESIDUAL, MAX_LOG_RESIDUAL)))

    def _straight(self, shapes: Shapes) -> Floats:
        """(N,) the log latency without the residual."""
        log_s, x = _features(self.donor, self.before, self.after, shapes)
        return np.asarray(log_s + self.line[0] + (x - self.center) @ self.line[1:])

    def spread(self, shapes: Shapes) -> Floats:
        """The residual's deviation, and what timing itself does from one session to the next."""
        return np.hypot(self.residual.sd(_sizes(self.names, shapes), _none(shapes)), SESSION)

    def knots(self, member: Workload, axis: int, limit: int) -> Floats:
        return self.donor.knots(member, axis, limit)


def _waves_of(law: Law) -> WaveBase | None:
    if isinstance(law, TileLaw) and isinstance(law.base, WaveBase):
        return law.base
    if isinstance(law, BlendLaw):
        return next((w for w in map(_waves_of, law.parts) if w is not None), None)
    if isinstance(law, PhysicsGPLaw):
        return next((b for b in law.bases if isinstance(b, WaveBase)), None)
    return None


def _features(
    donor: Law, before: WaveBase | None, after: WaveBase | None, shapes: Shapes
) -> tuple[Floats, Floats]:
    """(N,) log of the donor's latency, moved as the waves say, and (N, 3) features of the line."""
    log_s = np.log(donor.latency_s(shapes))
    work = np.log(shapes.macs + 1.0)
    x = np.stack([log_s, work, np.log(shapes.touched_bytes)], axis=1)
    if before is not None and after is not None:
        log_s = log_s + np.log(after.latency_s(shapes) / before.latency_s(shapes))
    return log_s, x


def _straight(
    donor: Law, before: WaveBase | None, after: WaveBase | None, shapes: Shapes, latency_s: Floats
) -> tuple[Floats, Floats, Floats]:
    """The center of the features, the line, and (N,) what it leaves of the log latency."""
    log_s, x = _features(donor, before, after, shapes)
    center = x.mean(axis=0)
    y = np.log(latency_s) - log_s
    level = y.mean()
    gram = (x - center).T @ (x - center) + (_ROW / _SLOPE) ** 2 * np.eye(x.shape[1])
    slopes = np.linalg.solve(gram, (x - center).T @ (y - level))
    left = y - level - (x - center) @ slopes
    return center, np.concatenate([[level], slopes]), left


def _sizes(names: tuple[str, ...], shapes: Shapes) -> Floats:
    logs = log_sizes(shapes)
    return np.stack([logs[n] for n in names], axis=1) if names else np.zeros((len(shapes), 0))


def _none(shapes: Shapes) -> Floats:
    return np.zeros((len(shapes), 0))
