"""The ``tile`` method: a physical base in whole tiles, and a smooth residual."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np

from latprof.surrogate._shapes import Floats, Shapes
from latprof.surrogate.methods._base import PhysicalBase
from latprof.surrogate.methods._gp import GaussianProcess
from latprof.surrogate.methods._law import Law
from latprof.surrogate.methods._steps import step_of
from latprof.surrogate.methods._waves import WaveBase
from latprof.workloads import Workload

__all__ = [
    "MAX_LOG_RESIDUAL",
    "ROWS_FOR_WAVES",
    "SESSION",
    "TileLaw",
    "common_waves",
    "log_sizes",
    "tile_knots",
]

#: Periods whose phase the residual may depend on: SIMD widths, channel blocks, tile widths.
_PERIODS = (4, 8, 16, 32, 64, 128)

#: Below this many channels vector code takes other paths; the residual may tell them apart.
_ONE_VECTOR = 16

#: Knots are no closer than this: where the law has no steps it bends slowly.
_FINEST = 8

#: An axis has at most about this many knots.
_MAX_KNOTS = 4096

#: Part by which a shape's timing differs between sessions of measuring, which a table measured in
#: one session does not show.
SESSION = 0.03

#: Waves are looked for in this many rows, where a law of one processor misses them by this part.
ROWS_FOR_WAVES, _GOOD = 40, 0.05

#: Kinds of op share weights, so together they are at most this many times as far off.
_POOLED = 1.5

#: Folds by which a kind of few rows chooses its base.
_FOLDS = 5

#: Processors with which a law of waves is tried at first.
_MIDDLING = (68,)

#: The residual may move the log of the base by at most this, a factor of 4, either way.
MAX_LOG_RESIDUAL = float(np.log(4.0))


@dataclass(frozen=True)
class TileLaw(Law):
    """latency = base x exp(residual); the residual is a Gaussian process over log sizes and
    the unfilled part of tiles, so it repeats where tiles repeat and fades to the base beyond
    what was measured.

    Args:
        base: of one processor or of many, whichever the rows are nearer to.
        smooth: names of the columns of log sizes that vary in the fitted rows.
    """

    base: PhysicalBase | WaveBase
    smooth: tuple[str, ...]
    residual: GaussianProcess

    takes_many_rows: ClassVar[bool] = True

    @classmethod
    def fit(
        cls, shapes: Shapes, latency_s: Floats, *, seed: int = 0, waves: WaveBase | None = None
    ) -> Self:
        """Args:
        waves: what the table's kinds of op have in common, where that is a device of many
            processors; a kind of few rows takes it where it predicts rows left out better.
        """
        base = _base(shapes, latency_s, waves)
        logs = log_sizes(shapes)
        smooth = tuple(name for name, column in logs.items() if np.ptp(column) > 1e-9)
        x, p = _features(shapes, smooth, base)
        y = base.log_residual(shapes, latency_s)
        return cls(base, smooth, GaussianProcess.fit(x, p, y, seed=seed))

    def refit(self, shapes: Shapes, latency_s: Floats) -> Self:
        base = self.base.refit(shapes, latency_s)
        x, p = _features(shapes, self.smooth, base)
        y = base.log_residual(shapes, latency_s)
        return type(self)(base, self.smooth, self.residual.refit(x, p, y))

    def conditioned(self, shapes: Shapes, latency_s: Floats) -> Self:
        x, p = _features(shapes, self.smooth, self.base)
        y = self.base.log_residual(shapes, latency_s)
        return replace(self, residual=replace(self.residual, x=x, p=p, y=y))

    def latency_s(self, shapes: Shapes) -> Floats:
        return self._moved(shapes, self.residual.mean(*_features(shapes, self.smooth, self.base)))

    def spread(self, shapes: Shapes) -> Floats:
        """The residual's deviation, and what timing itself does from one session to the next."""
        return self.with_spread(shapes)[1]

    def with_spread(self, shapes: Shapes) -> tuple[Floats, Floats]:
        mean, sd = self.residual.posterior(*_features(shapes, self.smooth, self.base))
        return self._moved(shapes, mean), np.hypot(sd, SESSION)

    def _moved(self, shapes: Shapes, residual: Floats) -> Floats:
        """(N,) seconds: the base, moved by the residual."""
        moved = np.clip(residual, -MAX_LOG_RESIDUAL, MAX_LOG_RESIDUAL)
        return np.asarray(self.base.latency_s(shapes) * np.exp(moved))

    def variance_reduction(self, candidates: Shapes, references: Shapes) -> Floats:
        """(C, R) by how much the variance of each reference's log latency falls when a candidate is
        measured."""
        return self.residual.variance_reduction(
            *_features(candidates, self.smooth, self.base),
            *_features(references, self.smooth, self.base),
        )

    def fantasize(self, shapes: Shapes) -> Self:
        """The law as if these rows had been measured as predicted: the same mean, a smaller
        variance."""
        x, p = _features(shapes, self.smooth, self.base)
        return type(self)(self.base, self.smooth, self.residual.fantasize(x, p))

    def knots(self, member: Workload, axis: int, limit: int) -> Floats:
        return tile_knots(self, member, axis, limit)


def tile_knots(law: Law, member: Workload, axis: int, limit: int) -> Floats:
    """Tile tops: a gradient between them is that of the steps' envelope. See Law.knots."""
    other = float(member.channels[1 - axis])

    def along(counts: Floats) -> Floats:
        pair = [counts, counts if member.tied else np.full_like(counts, other)]
        return law.latency_s(Shapes.at(member, *(pair if axis == 0 else pair[::-1])))

    step = max(step_of(along, limit), _FINEST)
    step *= -(-limit // (step * _MAX_KNOTS))  # whole steps apart, where there are very many
    return np.unique([1.0, *np.arange(step, limit, step), float(limit)])


def log_sizes(shapes: Shapes) -> dict[str, Floats]:
    """(N,) logs of each size, by name."""
    apart = shapes.columns > 0
    columns = {
        "c_out": shapes.c_out,
        "m_out": shapes.products[1],
        "columns": np.maximum(shapes.columns, 1.0),
        "stride": np.where(apart, 1.0, shapes.m_in / shapes.m_out),
        "depth": np.maximum(shapes.depth, 1.0),
        "width": shapes.width,
        "batch": shapes.batch,
        "read": shapes.read,
        "blocks": shapes.blocks,
    }
    if not shapes.tied:
        columns |= {"c_in": shapes.c_in, "groups": shapes.groups}
    return {name: np.log(column) for name, column in columns.items()}


def _counts(shapes: Shapes) -> tuple[Floats, ...]:
    """Those that a runtime cuts into tiles: of one channel axis, it or each product's matrix."""
    if (shapes.columns > 0).all():
        return shapes.products[1:]
    return (shapes.c_out,) if shapes.tied else (shapes.c_in, shapes.c_out)


def _base(shapes: Shapes, latency_s: Floats, waves: WaveBase | None) -> PhysicalBase | WaveBase:
    one = PhysicalBase.fit(shapes, latency_s)
    if len(shapes) < ROWS_FOR_WAVES:
        return one if waves is None else _better(one, waves, shapes, latency_s)
    error = _mean_error(one, shapes, latency_s)
    if error < _GOOD or not _has_waves(shapes, latency_s, error):
        return one
    return WaveBase.fit(shapes, latency_s)


def common_waves(kinds: Sequence[tuple[Shapes, Floats]]) -> WaveBase | None:
    """The base of many processors of the kinds of op that multiply, if their rows together show
    one: it must be nearer to them than a base of one processor for each kind.

    Args:
        kinds: shapes and seconds of each.
    """
    multiply = [(shapes, latency_s) for shapes, latency_s in kinds if (shapes.depth > 0).all()]
    if sum(len(shapes) for shapes, _ in multiply) < ROWS_FOR_WAVES:
        return None
    errors = [
        _mean_error(PhysicalBase.fit(shapes, latency_s), shapes, latency_s) * len(shapes)
        for shapes, latency_s in multiply
    ]
    shapes = Shapes.joined([s for s, _ in multiply])
    latency_s = np.concatenate([s for _, s in multiply])
    error = sum(errors) / len(shapes)
    if error < _GOOD or not _has_waves(shapes, latency_s, _POOLED * error):
        return None
    return WaveBase.fit(shapes, latency_s)


def _has_waves(shapes: Shapes, latency_s: Floats, error: float) -> bool:
    """Whether a rough law of waves errs by less; counting processors takes longer than that."""
    return _mean_error(WaveBase.fit(shapes, latency_s, _MIDDLING), shapes, latency_s) < error


def _better(
    one: PhysicalBase, waves: WaveBase, shapes: Shapes, latency_s: Floats
) -> PhysicalBase | WaveBase:
    """Which of the two predicts rows better that were left out of it."""
    folds = np.arange(len(shapes)) % min(len(shapes), _FOLDS)
    lead = 0.0
    for fold in range(folds.max() + 1):
        known, left = folds != fold, folds == fold
        of_one = one.refit(shapes[known], latency_s[known])
        of_many = waves.of_kind(shapes[known], latency_s[known])
        lead += float(left.sum()) * _mean_error(of_one, shapes[left], latency_s[left])
        lead -= float(left.sum()) * _mean_error(of_many, shapes[left], latency_s[left])
    return one if lead <= 0 else waves.of_kind(shapes, latency_s)


def _mean_error(base: PhysicalBase | WaveBase, shapes: Shapes, latency_s: Floats) -> float:
    """Of the log."""
    return float(np.abs(np.log(latency_s / base.latency_s(shapes))).mean())


def _features(
    shapes: Shapes, smooth: tuple[str, ...], base: PhysicalBase | WaveBase
) -> tuple[Floats, Floats]:
    """(N, D) logs of sizes; (N, P) per axis the unfilled parts of the last tile in [0, 1), and
    how much of one vector there is at all; and the regime."""
    logs = log_sizes(shapes)
    x = np.stack([logs[name] for name in smooth], axis=1) if smooth else np.zeros((len(shapes), 0))
    phases = [
        phase
        for count in _counts(shapes)
        for phase in (
            *((-count % period) / period for period in _PERIODS),
            np.minimum(count, _ONE_VECTOR) / _ONE_VECTOR,
        )
    ]
    return x, np.stack([*phases, base.regime(shapes).astype(float)], axis=1)
