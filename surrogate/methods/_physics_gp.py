"""The ``gp`` method: a Gaussian process over log sizes and what physical models say."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np

from latprof.surrogate._shapes import Floats, Shapes
from latprof.surrogate.methods._base import PhysicalBase
from latprof.surrogate.methods._gp import GaussianProcess
from latprof.surrogate.methods._law import Law
from latprof.surrogate.methods._tile import (
    MAX_LOG_RESIDUAL,
    ROWS_FOR_WAVES,
    SESSION,
    log_sizes,
    tile_knots,
)
from latprof.surrogate.methods._waves import WaveBase
from latprof.workloads import Workload

__all__ = ["PhysicsGPLaw"]

#: Error of the log that a straight line is thought to leave, over a slope's: what few rows do not
#: show is taken from the physical models.
_RIDGE = 0.1


@dataclass(frozen=True)
class PhysicsGPLaw(Law):
    """log latency = the physical models' mean + a straight line + a Gaussian process, the latter
    two over logs of sizes and of what each physical model says. Where a device is of neither kind,
    what the models say still tells shapes apart that are handled differently.

    Args:
        bases: a model of one processor, and of many where there are rows enough.
        names: of the log sizes that vary in the fitted rows.
        center, scale: (D,) of the features.
        line: (1 + D,) level, and slopes in units of ``scale``.
        residual: of log latency, over the features.
    """

    bases: tuple[PhysicalBase | WaveBase, ...]
    names: tuple[str, ...]
    center: Floats
    scale: Floats
    line: Floats
    residual: GaussianProcess

    takes_many_rows: ClassVar[bool] = True

    @classmethod
    def fit(
        cls,
        shapes: Shapes,
        latency_s: Floats,
        *,
        seed: int = 0,
        known: PhysicalBase | WaveBase | None = None,
    ) -> Self:
        """Args:
        known: one of the physical models, where these rows have been fitted by it already.
        """
        bases = _bases(shapes, latency_s, known)
        names = tuple(n for n, column in log_sizes(shapes).items() if np.ptp(column) > 1e-9)
        features, center, scale, line, y = _straight(bases, names, shapes, latency_s)
        residual = GaussianProcess.fit(features, np.zeros((len(y), 0)), y, seed=seed)
        return cls(bases, names, center, scale, line, residual)

    def refit(self, shapes: Shapes, latency_s: Floats) -> Self:
        bases = tuple(base.refit(shapes, latency_s) for base in self.bases)
        features, center, scale, line, y = _straight(bases, self.names, shapes, latency_s)
        residual = self.residual.refit(features, np.zeros((len(y), 0)), y)
        return type(self)(bases, self.names, center, scale, line, residual)

    def conditioned(self, shapes: Shapes, latency_s: Floats) -> Self:
        x, straight = self._straight(shapes)
        p, y = np.zeros((len(x), 0)), np.log(latency_s) - straight
        return replace(self, residual=replace(self.residual, x=x, p=p, y=y))

    def latency_s(self, shapes: Shapes) -> Floats:
        x, straight = self._straight(shapes)
        return _moved(straight, self.residual.mean(x, np.zeros((len(x), 0))))

    def spread(self, shapes: Shapes) -> Floats:
        """The residual's deviation, and what timing itself does from one session to the next."""
        return self.with_spread(shapes)[1]

    def with_spread(self, shapes: Shapes) -> tuple[Floats, Floats]:
        x, straight = self._straight(shapes)
        mean, sd = self.residual.posterior(x, np.zeros((len(x), 0)))
        return _moved(straight, mean), np.hypot(sd, SESSION)

    def _straight(self, shapes: Shapes) -> tuple[Floats, Floats]:
        """(N, D) features, and (N,) the log latency without the residual."""
        x, physical = _features(self.bases, self.names, shapes)
        return x, physical + self.line[0] + (x - self.center) / self.scale @ self.line[1:]

    def knots(self, member: Workload, axis: int, limit: int) -> Floats:
        return tile_knots(self, member, axis, limit)


def _moved(log_s: Floats, residual: Floats) -> Floats:
    """(N,) seconds."""
    return np.asarray(np.exp(log_s + np.clip(residual, -MAX_LOG_RESIDUAL, MAX_LOG_RESIDUAL)))


def _bases(
    shapes: Shapes, latency_s: Floats, known: PhysicalBase | WaveBase | None
) -> tuple[PhysicalBase | WaveBase, ...]:
    one = known if isinstance(known, PhysicalBase) else PhysicalBase.fit(shapes, latency_s)
    if len(shapes) < ROWS_FOR_WAVES or not (shapes.depth > 0).all():
        return (one,)
    many = known if isinstance(known, WaveBase) else WaveBase.fit(shapes, latency_s)
    return (one, many)


def _features(
    bases: tuple[PhysicalBase | WaveBase, ...], names: tuple[str, ...], shapes: Shapes
) -> tuple[Floats, Floats]:
    """(N, D) features, and (N,) the mean log latency of the physical models."""
    logs = log_sizes(shapes)
    said = [np.log(base.latency_s(shapes)) for base in bases]
    return np.stack([*(logs[name] for name in names), *said], axis=1), np.mean(said, axis=0)


def _straight(
    bases: tuple[PhysicalBase | WaveBase, ...],
    names: tuple[str, ...],
    shapes: Shapes,
    latency_s: Floats,
) -> tuple[Floats, Floats, Floats, Floats, Floats]:
    """Features, their center and scale, the line, and (N,) what it leaves of the log latency."""
    x, physical = _features(bases, names, shapes)
    center, scale = x.mean(axis=0), np.maximum(x.std(axis=0), 1e-9)
    unit = (x - center) / scale
    y = np.log(latency_s) - physical
    level = y.mean()
    gram = unit.T @ unit + _RIDGE**2 * np.eye(unit.shape[1])
    slopes = np.linalg.solve(gram, unit.T @ (y - level))
    return x, center, scale, np.concatenate([[level], slopes]), y - level - unit @ slopes
