"""The ``tile`` method: a physical base in whole tiles, and a smooth residual."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from latprof.surrogate._shapes import Floats, Shapes
from latprof.surrogate.methods._base import PhysicalBase
from latprof.surrogate.methods._gp import GaussianProcess
from latprof.surrogate.methods._law import Law
from latprof.surrogate.methods._steps import step_of
from latprof.surrogate.methods._waves import WaveBase
from latprof.workloads import Workload

__all__ = ["TileLaw"]

#: Periods whose phase the residual may depend on: SIMD widths, channel blocks, tile widths.
_PERIODS = (4, 8, 16, 32, 64, 128)

#: Below this many channels vector code takes other paths; the residual may tell them apart.
_ONE_VECTOR = 16

#: Knots are no closer than this: where the law has no steps it bends slowly.
_FINEST = 8

#: Part by which a shape's timing differs between sessions of measuring, which a table measured in
#: one session does not show.
_SESSION = 0.03

#: Waves are looked for in this many rows, where a law of one processor misses them by this part.
_ROWS_FOR_WAVES, _GOOD = 40, 0.05

#: Processors with which a law of waves is tried at first.
_MIDDLING = (68,)

#: The residual may move the base by at most this factor either way.
_MOST = 4.0


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

    @classmethod
    def fit(cls, shapes: Shapes, latency_s: Floats, *, seed: int = 0) -> Self:
        base = _base(shapes, latency_s)
        logs = _logs(shapes)
        smooth = tuple(name for name, column in logs.items() if np.ptp(column) > 1e-9)
        x, p = _features(shapes, smooth, base)
        y = base.missed(shapes, latency_s)
        return cls(base, smooth, GaussianProcess.fit(x, p, y, seed=seed))

    def refit(self, shapes: Shapes, latency_s: Floats) -> Self:
        base = self.base.refit(shapes, latency_s)
        x, p = _features(shapes, self.smooth, base)
        y = base.missed(shapes, latency_s)
        return type(self)(base, self.smooth, self.residual.refit(x, p, y))

    def latency_s(self, shapes: Shapes) -> Floats:
        moved = self.residual.mean(*_features(shapes, self.smooth, self.base))
        return np.asarray(
            self.base.latency_s(shapes) * np.exp(np.clip(moved, -np.log(_MOST), np.log(_MOST)))
        )

    def spread(self, shapes: Shapes) -> Floats:
        """The residual's deviation, and what timing itself does from one session to the next."""
        return np.hypot(self.residual.sd(*_features(shapes, self.smooth, self.base)), _SESSION)

    def gain(self, candidates: Shapes, references: Shapes) -> Floats:
        """(C, R) by how much the variance of each reference's log latency falls, were a candidate
        measured."""
        return self.residual.gain(
            *_features(candidates, self.smooth, self.base),
            *_features(references, self.smooth, self.base),
        )

    def believing(self, shapes: Shapes) -> Self:
        """The law with these rows added and found as predicted: the same mean, less unsure."""
        x, p = _features(shapes, self.smooth, self.base)
        return type(self)(self.base, self.smooth, self.residual.believing(x, p))

    def knots(self, member: Workload, axis: int, limit: int) -> Floats:
        """Tile tops: a gradient between them is that of the steps' envelope."""
        other = float(member.channels[1 - axis])

        def along(counts: Floats) -> Floats:
            pair = [counts, counts if member.tied else np.full_like(counts, other)]
            return self.latency_s(Shapes.at(member, *(pair if axis == 0 else pair[::-1])))

        step = max(step_of(along, limit), _FINEST)
        return np.unique([1.0, *np.arange(step, limit, step), float(limit)])


def _logs(shapes: Shapes) -> dict[str, Floats]:
    columns = {
        "c_out": shapes.c_out,
        "m_out": shapes.m_out,
        "stride": shapes.m_in / shapes.m_out,
        "depth": np.maximum(shapes.depth, 1.0),
        "width": shapes.width,
        "batch": shapes.batch,
    }
    if not shapes.tied:
        columns |= {"c_in": shapes.c_in, "groups": shapes.groups}
    return {name: np.log(column) for name, column in columns.items()}


def _base(shapes: Shapes, latency_s: Floats) -> PhysicalBase | WaveBase:
    one = PhysicalBase.fit(shapes, latency_s)
    if len(shapes) < _ROWS_FOR_WAVES or (missed := _miss(one, shapes, latency_s)) < _GOOD:
        return one
    rough = WaveBase.fit(shapes, latency_s, _MIDDLING)
    if _miss(rough, shapes, latency_s) >= missed:  # counting processors takes longer than this
        return one
    return WaveBase.fit(shapes, latency_s)


def _miss(base: PhysicalBase | WaveBase, shapes: Shapes, latency_s: Floats) -> float:
    """Mean error of the log."""
    return float(np.abs(np.log(latency_s / base.latency_s(shapes))).mean())


def _features(
    shapes: Shapes, smooth: tuple[str, ...], base: PhysicalBase | WaveBase
) -> tuple[Floats, Floats]:
    """(N, D) logs of sizes; (N, P) per axis the unfilled parts of the last tile in [0, 1), and
    how much of one vector there is at all; and the regime."""
    logs = _logs(shapes)
    x = np.stack([logs[name] for name in smooth], axis=1) if smooth else np.zeros((len(shapes), 0))
    phases = [
        phase
        for count in ((shapes.c_out,) if shapes.tied else (shapes.c_in, shapes.c_out))
        for phase in (
            *((-count % period) / period for period in _PERIODS),
            np.minimum(count, _ONE_VECTOR) / _ONE_VECTOR,
        )
    ]
    return x, np.stack([*phases, base.regime(shapes).astype(float)], axis=1)
