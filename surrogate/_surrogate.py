"""The surrogate: one latency law per label of op, with intervals and composition."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from latprof.surrogate._conformal import FEW_WIDTHS, HeldOut
from latprof.surrogate._prediction import Prediction
from latprof.surrogate._shapes import Floats, Shapes, by_label
from latprof.surrogate.compose import Composition
from latprof.surrogate.methods import Law, step_of
from latprof.tables import Family
from latprof.vocabulary import Target
from latprof.workloads import Workload

if TYPE_CHECKING:
    from torch import nn

__all__ = ["LabelFit", "Surrogate"]

#: Where a label's rows carry a law of its own, its intervals are at most this factor either way.
_MAX_FACTOR = 3.0

#: Counts beyond the measured ones by more than this part are extrapolation, and warned of.
_BEYOND = 1.25

#: Ops that are predicted at once: few, so that intermediate arrays stay in the processor's cache.
_AT_ONCE = 4096


#: A label, the positions of its ops, and their shapes.
_Columns = tuple[str, list[int], Shapes]


@dataclass(frozen=True)
class LabelFit:
    """One label's law and what is known of its errors.

    Args:
        method: one of METHODS but ``auto``; ``pooled``, a blend fitted to several kernel sizes;
            ``roofline`` (too few rows); or ``transfer``.
        law: fitted to all the label's rows.
        held_out: of cross-validation; None where the rows are too few for it.
        width: of an interval, in units of the law's spread of the log latency.
        positions: fewest and most positions (m_out) of a measured op.
        highest: largest measured (c_in, c_out).
        rows: how many it was fitted to.
        donor: of a transfer: whose law was moved.
    """

    method: str
    law: Law
    held_out: HeldOut | None
    width: float
    positions: tuple[float, float]
    highest: tuple[float, float]
    rows: int
    donor: Target | None = None


@dataclass(frozen=True)
class Surrogate:
    """A fitted table: latency in seconds of any op, with an interval. Made by ``fit``.

        surrogate = fit(LatencyTable.load("T.parquet"))
        each = surrogate.predict(workloads)         # seconds of each op alone, (N,)
        whole = surrogate.predict_model(workloads)  # of the model they make up, a scalar

    Args:
        target: of the table.
        method: that ``fit`` was asked for.
        labels: by kind of op, its law and what is known of its errors.
        fallback: the law of kinds of op that have no row.
        composition: how ops add up to a model.
    """

    target: Target
    method: str
    labels: Mapping[str, LabelFit]
    fallback: Law
    composition: Composition

    def predict(self, workloads: Sequence[Workload]) -> Prediction:
        """Each op alone, as it would be measured alone, with its interval.

        Returns:
            arrays (N,) in the order of ``workloads``.
        """
        latency_s, log_width = np.empty(len(workloads)), np.empty(len(workloads))
        warnings: list[str] = []
        for label, rows, shapes in _columns(workloads):
            latency_s[rows], log_width[rows] = self._read(label, shapes)
            warnings += self._warnings(label, shapes, float(np.exp(log_width[rows].max())))
        low, high = latency_s * np.exp(-log_width), latency_s * np.exp(log_width)
        return Prediction(latency_s, low, high, tuple(warnings))

    def predict_model(self, workloads: Sequence[Workload]) -> Prediction:
        """The whole model these ops make up, composed and, where the table has whole models of
        the kind, calibrated; scalars."""
        ops = self.predict(workloads)
        columns = _columns(workloads)
        shares_s = self._shares(columns, ops.latency_s, self._reload_fraction(columns))
        latency_s = float(shares_s.sum()) + self.composition.fixed_s(len(workloads))
        half_s = self.composition.half_width_s(latency_s, (ops.upper_s - ops.lower_s) / 2)
        return Prediction(
            np.asarray(latency_s),
            # As far below, as a factor: few calibrating models leave wide intervals, none below 0.
            np.asarray(latency_s / (1 + half_s / latency_s) if latency_s else 0.0),
            np.asarray(latency_s + half_s),
            ops.warnings,
            self.composition.calibrated,
        )

    def shares(self, workloads: Sequence[Workload], reload_fraction: float) -> Floats:
        """(N,) seconds of ops inside a model that loads this part of its weights again; without
        what every op takes alike."""
        return self._shares(_columns(workloads), self.predict(workloads).latency_s, reload_fraction)

    def _shares(
        self, columns: Sequence[_Columns], alone_s: Floats, reload_fraction: float
    ) -> Floats:
        shares_s = np.empty(len(alone_s))
        for label, rows, shapes in columns:
            shares_s[rows] = self.composition.shares_s(
                label, alone_s[rows], shapes, reload_fraction
            )
        return shares_s

    def reload_fraction(self, workloads: Sequence[Workload]) -> float:
        """See Composition.reload_fraction, of the model these ops make up."""
        return self._reload_fraction(_columns(workloads))

    def _reload_fraction(self, columns: Sequence[_Columns]) -> float:
        return self.composition.reload_fraction(
            sum(float(s.touched_bytes.sum()) for _, _, s in columns)
        )

    def torch_module(self, workloads: Sequence[Workload], *, alternatives: int = 0) -> nn.Module:
        """A module from (N, 2) real-valued counts to (N,) seconds, each op's share of the model:
        their sum plus ``constant_s`` is ``predict_model``. See latprof.surrogate._torch.

        Args:
            alternatives: so many of the last ops are no part of the model, but may stand for ops
                that are.

        Raises:
            MissingExtraError: torch is not installed.
        """
        from latprof.surrogate._torch import latency_module

        return latency_module(self, workloads, alternatives)

    def at(self, member: Workload, c_in: Floats, c_out: Floats) -> Floats:
        """(M,) seconds of the member's family at these counts, alone."""
        return self._read(member.label, Shapes.at(member, c_in, c_out))[0]

    def shares_at(
        self, member: Workload, c_in: Floats, c_out: Floats, reload_fraction: float
    ) -> Floats:
        """(M,) seconds of the same ops inside a model that loads this part of its weights again."""
        shapes = Shapes.at(member, c_in, c_out)
        alone_s = self._read(member.label, shapes)[0]
        return self.composition.shares_s(member.label, alone_s, shapes, reload_fraction)

    def interval_at(
        self, member: Workload, c_in: Floats, c_out: Floats
    ) -> tuple[Floats, Floats, Floats]:
        """(latency, lower, upper), (M,) seconds each, of the member's family at these counts."""
        latency_s, width = self._read(member.label, Shapes.at(member, c_in, c_out))
        return latency_s, latency_s * np.exp(-width), latency_s * np.exp(width)

    def step(self, family: Family, axis: int) -> int:
        """Counts between two jumps of the family's latency along an axis (0: c_in, 1: c_out), the
        other count at its largest; 1 where it climbs evenly."""
        limits = (family.c_in, family.c_out)

        def along(counts: Floats) -> Floats:
            pair = [counts, counts if family.tied else np.full_like(counts, limits[1 - axis])]
            return self.at(family.member, *(pair if axis == 0 else pair[::-1]))

        return step_of(along, limits[axis])

    def label_steps(self, label: str, families: Sequence[Family]) -> dict[str, int]:
        """By axis, the step that the label's widest family shows; empty where it shows none
        or none is of this label."""
        steps = {}
        for axis, name in ((0, "c_in"), (1, "c_out")):
            of_label = [f for f in families if f.member.label == label]
            if not of_label:
                continue
            widest = max(of_label, key=lambda f: (f.c_in, f.c_out)[axis])
            step = 1 if axis == 0 and widest.tied else self.step(widest, axis)
            if step > 1:
                steps[name] = step
        return steps

    def knots(self, member: Workload, axis: int, limit: int) -> Floats:
        """See Law.knots; no more than the law's ``max_knots``."""
        law = self._law(member.label)
        knots = law.knots(member, axis, limit)
        while len(knots) > law.max_knots:
            knots = np.append(knots[:-1:2], knots[-1])
        return knots

    def _law(self, label: str) -> Law:
        return self.labels[label].law if label in self.labels else self.fallback

    def _read(self, label: str, shapes: Shapes) -> tuple[Floats, Floats]:
        """(latency in seconds, half-width of the interval of its log), (N,) each."""
        fit = self.labels.get(label)
        if fit is None:
            return self.fallback.latency_s(shapes), FEW_WIDTHS[0] * self.fallback.spread(shapes)
        starts = range(0, max(len(shapes), 1), _AT_ONCE)
        read = [fit.law.with_spread(shapes[n : n + _AT_ONCE]) for n in starts]
        latency_s, spread = (np.concatenate(part) for part in zip(*read, strict=True))
        width = fit.width * spread
        if fit.held_out is not None:
            width = np.minimum(width, np.log(_MAX_FACTOR))
        return latency_s, width

    def _warnings(self, label: str, shapes: Shapes, factor: float) -> list[str]:
        """Args:
        factor: of the widest of the ops' intervals, either way.
        """
        fit = self.labels.get(label)
        if fit is None or fit.held_out is None:
            rows = "no row" if fit is None or not fit.rows else f"only {fit.rows} row(s)"
            donor = fit.donor if fit is not None else None
            known = f"the donor {donor}" if donor is not None else "its other ops"
            return [
                f"{label}: {len(shapes)} op(s) and {rows} in the table; estimated from {known}, "
                f"within a factor of {factor:.2g}; profile with this model to measure it"
            ]
        warnings = []
        axes = zip(("c_in", "c_out"), (shapes.c_in, shapes.c_out), fit.highest, strict=True)
        for name, counts, most in list(axes)[1 if shapes.tied else 0 :]:
            if counts.max() > _BEYOND * most:
                warnings.append(
                    f"{label}: {name} reaches {counts.max():.0f}, measured up to {most:.0f}; "
                    "extrapolated; profile with this model to measure it"
                )
        low, high = fit.positions
        if shapes.m_out.min() < low / _BEYOND or shapes.m_out.max() > _BEYOND * high:
            warnings.append(
                f"{label}: maps of {shapes.m_out.min():.0f} to {shapes.m_out.max():.0f} positions, "
                f"measured at {low:.0f} to {high:.0f}; extrapolated; profile with this model to "
                "measure it"
            )
        return warnings


def _columns(workloads: Sequence[Workload]) -> list[_Columns]:
    return [
        (label, rows, Shapes.of([workloads[i] for i in rows]))
        for label, rows in by_label(workloads).items()
    ]
