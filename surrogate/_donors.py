"""Donors: other targets' fits, moved to the rows of a table."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import numpy as np

from latprof.surrogate._conformal import FEW_WIDTHS, HeldOut, quantile
from latprof.surrogate._shapes import Floats, Shapes, Timed
from latprof.surrogate._surrogate import LabelFit, Surrogate
from latprof.surrogate.methods import SESSION, Change, Law, MovedLaw, RooflineLaw
from latprof.vocabulary import Target

__all__ = ["Donor", "DonorWarning", "Moved", "best_moved", "warn_of_unused"]

#: Parts of a table's rows that are left out one after the other.
_FOLDS = 5


class DonorWarning(UserWarning):
    """A donor that was given to ``fit`` helps with no kind of op."""


@dataclass(frozen=True)
class Donor:
    """Another target's fit."""

    fitted: Surrogate

    @property
    def target(self) -> Target:
        return self.fitted.target

    @cached_property
    def laws(self) -> Mapping[str, Law]:
        """By kind of op."""
        return {label: fit.law for label, fit in self.fitted.labels.items()}


@dataclass(frozen=True)
class Moved:
    """A donor's laws, moved to all rows of a table at once.

    Args:
        donor: whose laws.
        laws: moved, by kind of op; of all kinds that the donor has.
        held_out: each row of the change, predicted by the others.
    """

    donor: Donor
    laws: Mapping[str, MovedLaw]
    held_out: HeldOut

    @classmethod
    def of(cls, donor: Donor, rows: Mapping[str, Timed], *, seed: int = 0) -> Self | None:
        """None where the donor has no kind of op of the table."""
        if not donor.laws.keys() & rows.keys():
            return None
        laws = MovedLaw.of_all(donor.laws, rows, seed=seed)
        return cls(donor, laws, _left_out(next(iter(laws.values())).change))

    @property
    def error(self) -> float:
        """Mean |log error| of rows left out."""
        return float(self.held_out.log_errors.mean())

    def fit(self, label: str, rows: int) -> LabelFit:
        """Of a kind of op that has so many rows in the table."""
        law = self.laws[label]
        width = FEW_WIDTHS[min(len(self.held_out.rows), len(FEW_WIDTHS) - 1)]
        if rows:  # else the rows say little of what is open, the level of the kind
            width = quantile(self.held_out.scores)
        return replace(
            self.donor.fitted.labels[label],
            method="transfer",
            law=law,
            held_out=self.held_out[law.own_rows] if rows else None,
            width=width,
            rows=rows,
            donor=self.donor.target,
        )


def _left_out(change: Change) -> HeldOut:
    """Each row, predicted by the others."""
    numbers = np.arange(len(change.y))
    moved, spread = np.empty(len(numbers)), np.empty(len(numbers))
    for number in numbers:
        others, place = change.without(numbers == number), change.places[numbers == number]
        (moved[number],), (spread[number],) = others.mean(place), others.sd(place)
    donors_s = np.exp(change.places.x[:, 0])
    spread = np.hypot(spread, SESSION)
    predicted_s, latency_s = donors_s * np.exp(moved), donors_s * np.exp(change.y)
    return HeldOut(numbers, predicted_s, latency_s, spread, len(numbers) - 1)


def best_moved(
    donors: Sequence[Donor], rows: Mapping[str, Timed], *, seed: int = 0
) -> dict[str, Moved]:
    """By kind of op that a donor has, the donor that predicts rows left out best; none that
    predicts them worse than a roofline of the table's own rows does."""
    moved = [m for m in (Moved.of(donor, rows, seed=seed) for donor in donors) if m is not None]
    alone = _roofline_errors(rows, seed) if moved else {}
    found: dict[str, Moved] = {}
    for one in sorted(moved, key=lambda m: -m.error):  # the best is written last
        shared = [errors for label, errors in alone.items() if label in one.laws]
        if not shared or one.error < np.concatenate(shared).mean():  # one row cannot tell
            found |= dict.fromkeys(one.laws, one)
    return found


def _roofline_errors(rows: Mapping[str, Timed], seed: int) -> dict[str, Floats]:
    """By kind of op, |log error| of its rows, predicted by what is said of kinds with few rows."""
    rng = np.random.default_rng(seed)
    fold = {label: rng.integers(_FOLDS, size=len(shapes)) for label, (shapes, _) in rows.items()}
    errors: dict[str, list[Floats]] = {label: [] for label in rows}
    for number in range(_FOLDS):
        kept = {label: fold[label] != number for label in rows}
        parts = [(s[kept[label]], t[kept[label]]) for label, (s, t) in rows.items()]
        if not sum(len(s) for s, _ in parts):
            continue
        others = Shapes.joined([s for s, _ in parts]), np.concatenate([t for _, t in parts])
        law = RooflineLaw.fit(*others)
        for label, (shapes, latency_s) in rows.items():
            known, out = kept[label], ~kept[label]
            if out.any():
                own = law.refit(shapes[known], latency_s[known]) if known.any() else law
                found_s = own.latency_s(shapes[out])
                errors[label].append(np.abs(np.log(found_s / latency_s[out])))
    return {label: np.concatenate(parts) for label, parts in errors.items() if parts}


def warn_of_unused(donors: Sequence[Donor], fitted: Surrogate) -> None:
    """Warns:
    DonorWarning: of each donor that no kind of op took.
    """
    taken = {label.donor for label in fitted.labels.values()}
    for donor in donors:
        if donor.target not in taken:
            warnings.warn(
                f"the donor {donor.target} predicts no kind of op better than the table's own rows "
                "do, and is not used; try a table of a nearer device, runtime or number type",
                DonorWarning,
                stacklevel=4,
            )
