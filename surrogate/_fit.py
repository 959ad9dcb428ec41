"""fit: a table to a surrogate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from threadpoolctl import threadpool_limits

from latprof.errors import FitError, UsageError
from latprof.surrogate._conformal import FEW_WIDTHS, HeldOut, cross_validate, quantile
from latprof.surrogate._shapes import Floats, Shapes
from latprof.surrogate._surrogate import LabelFit, Surrogate
from latprof.surrogate.compose import calibrate, uncalibrated
from latprof.surrogate.methods import CubicLaw, Law, LinearLaw, PchipLaw, RooflineLaw, TileLaw
from latprof.tables import LatencyTable
from latprof.vocabulary import Measurement

__all__ = ["METHODS", "compare", "fit"]

LAWS: dict[str, type[Law]] = {
    "tile": TileLaw,
    "linear": LinearLaw,
    "cubic": CubicLaw,
    "pchip": PchipLaw,
}
METHODS = ("auto", *LAWS)

#: Labels with fewer rows than this get the roofline, moved to them.
_FEW_ROWS = len(FEW_WIDTHS)

#: Below this many held-out scores a label's interval leans on the other labels' too.
_ENOUGH_SCORES = 20

#: A law is fitted to at most this many rows of a kind of op, drawn at random, and where a table has
#: more than so many in all to its part of them; a Gaussian process costs their cube. As many of the
#: others as this score it.
_MAX_ROWS, _MAX_IN_ALL, _MAX_SCORED = 3000, 9000, 2000

Rows = tuple[Shapes, Floats]


def fit(table: LatencyTable, *, method: str = "auto", seed: int = 0) -> Surrogate:
    """Fit a surrogate to a table's usable rows.

    Of more than 3,000 rows of one kind of op, or 9,000 in all, it takes a random part; the other
    rows score it. Linear algebra runs on one thread, for matrices are small and threads that wait
    for each other on a busy machine take twenty times as long.

    Args:
        method: one of METHODS; ``auto`` takes each label's best by cross-validation.
        seed: of folds, and of the rows that are chosen.

    Raises:
        UsageError: unknown method, or a table without usable rows (TableError).
        FitError: the method cannot read this table's shapes.
    """
    if method not in METHODS:
        raise UsageError(f"method is {method!r}; expected one of {', '.join(METHODS)}")
    with threadpool_limits(1, user_api="blas"):
        return _fit(table, method, seed)


def _fit(table: LatencyTable, method: str, seed: int) -> Surrogate:
    rows = _rows_by_label(table)
    every = _joined(list(rows.values()))
    elsewhere = RooflineLaw.fit(*every)
    fits = {
        label: _fit_label(r, method, elsewhere, _limit(r, every), seed) for label, r in rows.items()
    }
    labels = {
        label: replace(fitted, width=_width(fitted, list(fits.values())))
        for label, fitted in fits.items()
    }
    prior = uncalibrated(*every, elsewhere, table.target.runtime)
    surrogate = Surrogate(table.target, method, labels, elsewhere, prior)
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
    every = _rows_by_label(table)
    limits = {label: _limit(r, _joined(list(every.values()))) for label, r in every.items()}
    rows = {label: r for label, r in every.items() if len(r[0]) >= _FEW_ROWS}
    if not rows:
        raise FitError(
            f"no kind of op has {_FEW_ROWS} usable rows or more, so nothing can be held out; "
            "measure more shapes with: latprof profile --budget-shapes N"
        )
    scored: dict[str, dict[str, HeldOut]] = {}
    results: dict[str, HeldOut | FitError] = {}
    for name, law in LAWS.items():
        try:
            scored[name] = {
                label: _scored(law, r, limits[label], seed)[1] for label, r in rows.items()
            }
            results[name] = HeldOut.joined(list(scored[name].values()))
        except FitError as exc:
            results[name] = exc
    best = [min((s[label] for s in scored.values()), key=lambda h: h.mape) for label in rows]
    return {"auto": HeldOut.joined(best), **results}


def _limit(rows: Rows, every: Rows) -> int:
    """How many of a label's rows its law is fitted to."""
    share = _MAX_IN_ALL * len(rows[0]) // len(every[0])
    return min(_MAX_ROWS, len(rows[0]) if len(every[0]) <= _MAX_IN_ALL else max(share, _FEW_ROWS))


def _scored(law: type[Law], rows: Rows, limit: int, seed: int) -> tuple[Law, HeldOut]:
    """The law fitted to so many rows, and its predictions of rows it has not seen: of folds, or
    of those past the limit where there are some."""
    shapes, latency_s = rows
    if len(shapes) <= limit:
        fitted = law.fit(shapes, latency_s, seed=seed)
        return fitted, cross_validate(fitted, shapes, latency_s, seed=seed)
    order = np.random.default_rng(seed).permutation(len(shapes))
    known, others = order[:limit], order[limit : limit + _MAX_SCORED]
    fitted = law.fit(shapes[known], latency_s[known], seed=seed)
    predicted_s = fitted.latency_s(shapes[others])
    spread = fitted.spread(shapes[others])
    return fitted, HeldOut(others, predicted_s, latency_s[others], spread, limit)


def _fit_label(rows: Rows, method: str, elsewhere: Law, limit: int, seed: int) -> LabelFit:
    """The label's law by the method; its width is of held-out scores still to be found."""
    if len(rows[0]) < _FEW_ROWS:
        return _label_fit("roofline", elsewhere.refit(*rows), None, rows[0])
    candidates: list[LabelFit] = []
    refused: list[FitError] = []
    for name in LAWS if method == "auto" else (method,):
        try:
            law, held_out = _scored(LAWS[name], rows, limit, seed)
        except FitError as exc:
            refused.append(exc)
            continue
        candidates.append(_label_fit(name, law, held_out, rows[0]))
    if not candidates:
        raise refused[0]
    return min(candidates, key=lambda c: c.held_out.mape if c.held_out else np.inf)


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
    return max(quantile(np.concatenate(alike)), quantile(own))


def _rows_by_label(table: LatencyTable) -> dict[str, Rows]:
    table.require_rows("fit")
    groups: dict[str, list[Measurement]] = {}
    for m in table.usable:
        groups.setdefault(m.workload.label, []).append(m)
    return {label: _rows(group) for label, group in groups.items()}


def _joined(rows: Sequence[Rows]) -> Rows:
    return Shapes.joined([r[0] for r in rows]), np.concatenate([r[1] for r in rows])


def _rows(measurements: Sequence[Measurement]) -> Rows:
    latency_s = np.array([m.latency_s for m in measurements])
    return Shapes.of([m.workload for m in measurements]), latency_s
