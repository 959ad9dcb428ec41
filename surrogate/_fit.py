"""fit: a table to a surrogate."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Self

import numpy as np
from threadpoolctl import threadpool_limits

from latprof.errors import FitError, UsageError
from latprof.surrogate._conformal import FEW_WIDTHS, HeldOut, cross_validate, quantile
from latprof.surrogate._donors import Donor, Moved, best_moved, warn_of_unused
from latprof.surrogate._shapes import Floats, Shapes, Timed
from latprof.surrogate._surrogate import LabelFit, Surrogate
from latprof.surrogate.compose import calibrate, uncalibrated
from latprof.surrogate.methods import (
    ROWS_FOR_WAVES,
    BlendLaw,
    CubicLaw,
    Law,
    LinearLaw,
    PchipLaw,
    PhysicsGPLaw,
    RooflineLaw,
    TileLaw,
    TransferLaw,
    WaveBase,
    common_waves,
)
from latprof.tables import LatencyTable
from latprof.vocabulary import Measurement

__all__ = ["METHODS", "compare", "fit"]

LAWS: dict[str, type[Law]] = {
    "tile": TileLaw,
    "gp": PhysicsGPLaw,
    "blend": BlendLaw,
    "linear": LinearLaw,
    "cubic": CubicLaw,
    "pchip": PchipLaw,
}
METHODS = ("auto", *LAWS)

#: Labels with fewer rows than this get the roofline, moved to them.
_FEW_ROWS = len(FEW_WIDTHS)

#: Below this many held-out scores a label's interval leans on the other labels' too.
_ENOUGH_SCORES = 20

#: Where the tile law errs by less than this, a Gaussian process of its own is not tried: it takes
#: as long to fit, and there is little left to gain.
_GOOD = 0.05

#: Nor is any other law tried where it errs by less than this.
_VERY_GOOD = 0.02

#: A kind of op with fewer rows than this, whose own law errs by more than _GOOD, is fitted together
#: with its kin too, convolutions that differ from it by the size of their kernel alone, where those
#: are as many rows as _LEAST_POOLED together.
_POOLED_ROWS, _LEAST_POOLED = 150, 12
_KERNEL = re.compile(r"\.k\d+")

#: An average of laws is taken though one of them alone erred by this part of its error: held-out
#: errors of a few hundred rows tell no nearer which of them errs less on other rows.
_AVERAGE = 0.98

#: A law is chosen by at most this many rows of a kind of op, drawn at random, and where a table has
#: more than so many in all by its part of them; then it takes all. As many of the others as this
#: score it.
_MAX_ROWS, _MAX_IN_ALL, _MAX_SCORED = 3000, 9000, 2000


def fit(
    table: LatencyTable,
    *,
    method: str = "auto",
    donors: Sequence[LatencyTable] | None = None,
    seed: int = 0,
) -> Surrogate:
    """Fit a surrogate to a table's usable rows.

        surrogate = fit(LatencyTable.load("local.parquet"))
        surrogate.predict([Conv2d(14, 14, 64, 128)]).latency_s  # (1,) seconds

    Of more than 3,000 rows of one kind of op, or 9,000 in all, a random part chooses the law, which
    then takes all rows and reads each prediction off the nearest of them. Linear algebra runs on
    one thread, for matrices are small and threads that wait for each other on a busy machine take
    twenty times as long.

    Args:
        method: one of METHODS; ``auto`` takes each label's best by cross-validation.
        donors: tables of other targets with rows of the same kinds of op: another device, runtime,
            or number of threads; by default those that the table has. Each is fitted, and moved to
            this table's rows; ``auto`` takes it for a kind of op where that predicts held-out rows
            better than these rows alone do, and for kinds with few rows or none.
        seed: of folds, and of the rows that are chosen.

    Raises:
        UsageError: unknown method, or a table without usable rows (TableError).
        FitError: the method cannot read this table's shapes. TargetMismatchError: a donor is of
            the table's own target.

    Warns:
        DonorWarning: a donor helps with no kind of op.
    """
    if method not in METHODS:
        raise UsageError(f"method is {method!r}; expected one of {', '.join(METHODS)}")
    if donors and method != "auto":
        raise UsageError(f"method is {method!r}; donors take auto, which tells if they help")
    table = table if donors is None else table.with_donors(donors)
    with threadpool_limits(1, user_api="blas"):
        theirs = map(LatencyTable.of, table.donors if method == "auto" else ())
        others = [Donor(_fit(donor, "auto", (), seed)) for donor in theirs]
        surrogate = _fit(table, method, others, seed)
    warn_of_unused(others, surrogate)
    return surrogate


def _fit(table: LatencyTable, method: str, donors: Sequence[Donor], seed: int) -> Surrogate:
    kinds = _Kinds.of(table, seed)
    fallback = kinds.fallback
    moved = best_moved(donors, kinds.rows, seed=seed)
    fits = {m: moved[m].fit(m, 0) for m in moved if m not in kinds.rows}
    for label in kinds.rows:
        fits[label] = _fit_label(kinds, label, method, fallback, donors, moved.get(label))
    labels = {
        label: replace(fitted, width=_width(fitted, list(fits.values())))
        for label, fitted in fits.items()
    }
    prior = uncalibrated(*kinds.joined, fallback, table.target.runtime)
    surrogate = Surrogate(table.target, method, labels, fallback, prior)
    if not table.usable_models:
        return surrogate
    composition = calibrate(surrogate.predict, table.usable_models, prior)
    return replace(surrogate, composition=composition)


def compare(table: LatencyTable, *, seed: int = 0) -> dict[str, HeldOut | FitError]:
    """Each method's cross-validated predictions over all the table's labels that have enough
    rows, or why the method cannot read the table; ``auto`` is scored by what it chose."""
    with threadpool_limits(1, user_api="blas"):
        return _compare(table, seed)


def _compare(table: LatencyTable, seed: int) -> dict[str, HeldOut | FitError]:
    kinds = _Kinds.of(table, seed)
    labels = [label for label, rows in kinds.rows.items() if len(rows[0]) >= _FEW_ROWS]
    if not labels:
        raise FitError(
            f"no kind of op has {_FEW_ROWS} usable rows or more, so nothing can be held out; "
            "measure more shapes with: latprof profile --budget-shapes N"
        )
    results: dict[str, HeldOut | FitError] = {}
    for name in LAWS:
        try:
            results[name] = HeldOut.joined([kinds.scored(name, label)[1] for label in labels])
        except FitError as exc:
            results[name] = exc
    best = [_fit_label(kinds, label, "auto", kinds.fallback).held_out for label in labels]
    return {"auto": HeldOut.joined([h for h in best if h is not None]), **results}


@dataclass(frozen=True)
class _Kinds:
    """A table's usable rows by kind of op.

    Args:
        rows: label -> shapes and seconds.
        seed: of folds, and of the rows that are chosen.
    """

    rows: dict[str, Timed]
    seed: int

    @classmethod
    def of(cls, table: LatencyTable, seed: int) -> Self:
        table.require_rows("fit")
        groups: dict[str, list[Measurement]] = {}
        for m in table.usable:
            groups.setdefault(m.workload.label, []).append(m)
        return cls({label: _rows(group) for label, group in groups.items()}, seed)

    @cached_property
    def kin(self) -> dict[str, Timed]:
        """Rows of the kinds of op that differ by the size of their kernel alone, where there are
        several, by what their labels have in common."""
        found: dict[str, list[Timed]] = {}
        for label, rows in self.rows.items():
            found.setdefault(_kin(label), []).append(rows)
        return {name: _joined(parts) for name, parts in found.items() if len(parts) > 1}

    def pooled(self, label: str) -> tuple[Law, HeldOut] | None:
        """The law of the label and its kin together, and its predictions of those of the label's
        rows that it has not seen; None where there is no kin, or too few rows of it, or where
        none of the label's rows was left out to score it."""
        name = _kin(label)
        if name not in self.kin or len(self.kin[name][0]) < _LEAST_POOLED:
            return None
        law, held_out = self.scored("blend", name)
        families = set(self.rows[label][0].family)
        own = [family in families for family in self.kin[name][0].family[held_out.rows]]
        return (law, held_out[np.flatnonzero(own)]) if any(own) else None

    @cached_property
    def joined(self) -> Timed:
        """All of them."""
        return _joined(list(self.rows.values()))

    @cached_property
    def fallback(self) -> RooflineLaw:
        """Of kinds of op with few rows or none."""
        return RooflineLaw.fit(*self.joined)

    @cached_property
    def _known(self) -> dict[tuple[str, str], tuple[Law, HeldOut]]:
        """What has been scored, by method and label."""
        return {}

    @cached_property
    def waves(self) -> WaveBase | None:
        return common_waves(list(self.rows.values()))

    def scored(self, method: str, label: str) -> tuple[Law, HeldOut]:
        """The label's law by the method, and its predictions of rows it has not seen: of folds,
        or where there are more rows than it is fitted to, of those."""
        if (method, label) not in self._known:
            self._known[method, label] = self._scored(method, label)
        return self._known[method, label]

    def _scored(self, method: str, label: str) -> tuple[Law, HeldOut]:
        if method == "blend":
            parts = [self.scored(part, label) for part in ("tile", "gp")]
            held_out = HeldOut.averaged([held_out for _, held_out in parts])
            return BlendLaw(tuple(law for law, _ in parts)), held_out
        return self.held_out(label, lambda s, latency_s: self._law(method, label, s, latency_s))

    def held_out(self, label: str, law_of: Callable[[Shapes, Floats], Law]) -> tuple[Law, HeldOut]:
        """See ``scored``, by what fits the law."""
        shapes, latency_s = self.rows[label] if label in self.rows else self.kin[label]
        limit = self._limit(len(shapes))
        if len(shapes) <= limit:
            law = law_of(shapes, latency_s)
            return law, cross_validate(law, shapes, latency_s, seed=self.seed)
        order = np.random.default_rng(self.seed).permutation(len(shapes))
        known, others = order[:limit], order[limit : limit + _MAX_SCORED]
        law = scored = law_of(shapes[known], latency_s[known])
        if law.takes_many_rows:
            known = np.setdiff1d(order, others)
            scored = law.refit(shapes[known], latency_s[known])
            law = scored.conditioned(shapes, latency_s)  # its intervals are as wide as the scores
        predicted_s, spread = scored.latency_s(shapes[others]), scored.spread(shapes[others])
        return law, HeldOut(others, predicted_s, latency_s[others], spread, len(known))

    def _law(self, method: str, label: str, shapes: Shapes, latency_s: Floats) -> Law:
        if method == "tile":
            waves = self.waves if len(shapes) < ROWS_FOR_WAVES and len(self.rows) > 1 else None
            return TileLaw.fit(shapes, latency_s, seed=self.seed, waves=waves)
        if method == "gp" and ("tile", label) in self._known:
            tile = self._known["tile", label][0]
            known = tile.base if isinstance(tile, TileLaw) else None
            return PhysicsGPLaw.fit(shapes, latency_s, seed=self.seed, known=known)
        return LAWS[method].fit(shapes, latency_s, seed=self.seed)

    def _limit(self, rows: int) -> int:
        """How many rows the law is fitted to of a kind of op that has so many."""
        in_all = len(self.joined[0])
        share = rows if in_all <= _MAX_IN_ALL else max(_MAX_IN_ALL * rows // in_all, _FEW_ROWS)
        return min(_MAX_ROWS, share)


def _fit_label(
    kinds: _Kinds,
    label: str,
    method: str,
    fallback: Law,
    donors: Sequence[Donor] = (),
    moved: Moved | None = None,
) -> LabelFit:
    """The label's law by the method; its width is of held-out scores still to be found."""
    shapes, latency_s = kinds.rows[label]
    if len(shapes) < _FEW_ROWS:
        if moved is not None:
            return moved.fit(label, len(shapes))
        if method == "auto" and (pooled := kinds.pooled(label)) is not None:
            return _label_fit("pooled", *pooled, shapes)
        return _label_fit("roofline", fallback.refit(shapes, latency_s), None, shapes)
    candidates: list[LabelFit] = []
    refused: list[FitError] = []
    for name in LAWS if method == "auto" else (method,):
        enough = _GOOD if name in ("gp", "blend") else _VERY_GOOD
        if method == "auto" and _error(candidates) < enough:
            continue
        try:
            candidates.append(_label_fit(name, *kinds.scored(name, label), shapes))
        except FitError as exc:
            refused.append(exc)
    few = method == "auto" and len(shapes) < _POOLED_ROWS and _error(candidates) >= _GOOD
    if few and (pooled := kinds.pooled(label)) is not None:
        together = _label_fit("pooled", *pooled, shapes)
        candidates = [c for c in candidates if _surely_better(c, together)] or [together]
    for donor in donors:
        if label in donor.laws:
            moving = partial(TransferLaw.fit, seed=kinds.seed, donor=donor.laws[label])
            own = _label_fit("transfer", *kinds.held_out(label, moving), shapes)
            candidates.append(replace(own, donor=donor.target))
    if moved is not None:
        candidates.append(moved.fit(label, len(shapes)))
    if not candidates:
        raise refused[0]
    return min(candidates, key=lambda c: _error([c]) * (_AVERAGE if c.method == "blend" else 1.0))


def _error(candidates: Sequence[LabelFit]) -> float:
    """The least held-out one."""
    return min((c.held_out.mape for c in candidates if c.held_out), default=np.inf)


def _surely_better(own: LabelFit, pooled: LabelFit) -> bool:
    """By more than the standard error of its error, which is large where rows are few."""
    assert own.held_out is not None
    assert pooled.held_out is not None
    alone, together = own.held_out.log_errors, pooled.held_out.log_errors
    return bool(alone.mean() + alone.std() / np.sqrt(len(alone)) < together.mean())


def _label_fit(method: str, law: Law, held_out: HeldOut | None, shapes: Shapes) -> LabelFit:
    return LabelFit(
        method=method,
        law=law,
        held_out=held_out,
        width=FEW_WIDTHS[min(len(shapes), len(FEW_WIDTHS) - 1)],
        positions=(float(shapes.m_out.min()), float(shapes.m_out.max())),
        highest=(float(shapes.c_in.max()), float(shapes.c_out.max())),
        rows=len(shapes),
    )


def _width(fitted: LabelFit, others: Sequence[LabelFit]) -> float:
    """Of the interval, in units of the law's spread."""
    if fitted.held_out is None:
        return fitted.width
    own = fitted.held_out.scores
    if len(own) >= _ENOUGH_SCORES:
        return quantile(own)
    alike = [o.held_out.scores for o in others if o.held_out and o.method == fitted.method]
    scores = np.concatenate(alike)
    # so few rows, which a donor may have chosen, do not show that errors are less than normal
    least = FEW_WIDTHS[0] if len(scores) < _ENOUGH_SCORES else 0.0
    return max(quantile(scores), quantile(own), least)


def _kin(label: str) -> str:
    """The label without the size of a kernel."""
    return _KERNEL.sub("", label)


def _joined(parts: Sequence[Timed]) -> Timed:
    return Shapes.joined([s for s, _ in parts]), np.concatenate([s for _, s in parts])


def _rows(measurements: Sequence[Measurement]) -> Timed:
    latency_s = np.array([m.latency_s for m in measurements])
    return Shapes.of([m.workload for m in measurements]), latency_s
