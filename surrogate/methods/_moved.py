"""Transfer to a handful of rows: one change from another target's laws, shared by kinds of op."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, cholesky, solve_triangular
from scipy.spatial.distance import cdist

from latprof.surrogate._shapes import Floats, Shapes, Timed
from latprof.surrogate.methods._gp import matern
from latprof.surrogate.methods._law import Law
from latprof.surrogate.methods._tile import SESSION, log_sizes
from latprof.workloads import Workload

__all__ = ["Change", "MovedLaw", "Places"]

#: Of the level: one device may be e^3 times as fast as another.
_LEVEL = 3.0

#: Deviations before rows are seen, and of their logs: of each slope over the logs of the donor's
#: latency, arithmetic and bytes; of a kind of op's own level; of the rest within a kind; of a row.
_USUAL = np.array([0.1, 0.15, 0.1, 0.04])
_UNSURE = 0.7

#: The same where nothing is measured yet and shapes are chosen: with less trust in a line, they lie
#: within the range and not at its corners, where laws bend.
_PLANNED = np.array([0.03, 0.15, 0.2, 0.04])

#: E-folds of a size over which the rest is alike.
_LENGTH = 2.0

#: The change is fitted to at most about so many rows, as many of each kind, drawn at random: what
#: it shares needs no more.
_MAX_ROWS = 300

_SIZES = (
    "c_in", "c_out", "m_out", "columns", "stride", "depth", "width", "batch", "groups",
)  # fmt: skip


@dataclass(frozen=True)
class Places:
    """Where N ops lie for the change.

    Args:
        kind: (N,) number of each op's kind; -1 of a kind without rows.
        x: (N, 3) logs of the donor's latency, of arithmetic and of bytes.
        sizes: (N, 9) log sizes.
        unsure: (N,) the donor's own spread.
    """

    kind: NDArray[np.int64]
    x: Floats
    sizes: Floats
    unsure: Floats

    @classmethod
    def of(cls, donor: Law, shapes: Shapes, kind: int) -> Self:
        """Of ops of one kind, whose law at the donor this is."""
        logs = log_sizes(shapes)
        work = np.log(shapes.macs + 1.0)
        x = [np.log(donor.latency_s(shapes)), work, np.log(shapes.touched_bytes)]
        none = np.zeros(len(shapes))
        sizes = np.stack([logs.get(name, none) for name in _SIZES], axis=1)
        kinds = np.full(len(shapes), kind, dtype=np.int64)
        return cls(kinds, np.stack(x, axis=1), sizes, donor.spread(shapes))

    @classmethod
    def joined(cls, parts: Sequence[Places]) -> Self:
        columns = zip(*((p.kind, p.x, p.sizes, p.unsure) for p in parts), strict=True)
        return cls(*(np.concatenate(column) for column in columns))

    def __getitem__(self, rows: NDArray[np.intp] | NDArray[np.bool_]) -> Self:
        return type(self)(self.kind[rows], self.x[rows], self.sizes[rows], self.unsure[rows])


@dataclass(frozen=True)
class Change:
    """log(latency / the donor's), a Gaussian process over the rows of all kinds of op: a level, a
    line in the logs of the donor's latency, of arithmetic and of bytes, a level of each kind, and
    a smooth rest within each.

    Args:
        places: of the rows, (N,).
        y: (N,) their change.
        center: (3,) that the line is drawn around.
        scales: (4,) deviations: slopes, level of a kind, rest, a row.
        root: (N, N) lower Cholesky factor of their covariance.
        alpha: (N,) the covariance's inverse times ``y``.
    """

    places: Places
    y: Floats
    center: Floats
    scales: Floats
    root: Floats
    alpha: Floats

    @classmethod
    def fit(cls, places: Places, y: Floats) -> Self:
        """The likeliest scales, given what is usual."""
        from scipy.optimize import minimize  # loads slowly, and a kept fit does without

        center = places.x.mean(axis=0)

        def loss(logs: Floats) -> float:
            root = _root(places, center, np.exp(logs))
            scaled = solve_triangular(root, y, lower=True)
            likely = 0.5 * scaled @ scaled + np.log(np.diag(root)).sum()
            return float(likely + 0.5 * (((logs - np.log(_USUAL)) / _UNSURE) ** 2).sum())

        best = minimize(loss, np.log(_USUAL), method="L-BFGS-B", options={"maxiter": 20}).x
        return cls.conditioned(places, y, center, np.exp(best))

    @classmethod
    def conditioned(cls, places: Places, y: Floats, center: Floats, scales: Floats) -> Self:
        root = _root(places, center, scales)
        return cls(places, y, center, scales, root, np.asarray(cho_solve((root, True), y)))

    @classmethod
    def expected(cls, places: Places) -> Self:
        """Before any row is measured, around these ops."""
        none = np.zeros(0, dtype=np.intp)
        center = places.x.mean(axis=0)
        return cls.conditioned(places[none], np.zeros(0), center, _PLANNED)

    def without(self, rows: NDArray[np.bool_]) -> Self:
        """Of the other rows, at the same scales."""
        return self.conditioned(self.places[~rows], self.y[~rows], self.center, self.scales)

    def with_row(self, place: Places) -> Self:
        """With a row more, that holds what is predicted: the same mean, a smaller variance."""
        places = Places.joined([self.places, place])
        y = np.concatenate([self.y, self.mean(place)])
        return self.conditioned(places, y, self.center, self.scales)

    def mean(self, places: Places) -> Floats:
        """(M,) expected change."""
        return np.asarray(_kernel(places, self.places, self.center, self.scales) @ self.alpha)

    def covariance(self, places: Places, others: Places) -> Floats:
        """(M, K) of the changes at two sets of ops, given the rows."""
        a, b = (
            solve_triangular(
                self.root, _kernel(self.places, at, self.center, self.scales), lower=True
            )
            for at in (places, others)
        )
        return np.asarray(_kernel(places, others, self.center, self.scales) - a.T @ b)

    def sd(self, places: Places) -> Floats:
        """(M,) deviation of an op's latency from what is expected."""
        known = solve_triangular(
            self.root, _kernel(self.places, places, self.center, self.scales), lower=True
        )
        slopes = ((places.x - self.center) ** 2).sum(axis=1) * self.scales[0] ** 2
        prior = _LEVEL**2 + slopes + (self.scales[1:3] ** 2).sum()
        left = np.maximum(prior - (known**2).sum(axis=0), 0.0)
        return np.asarray(np.sqrt(left + _noise(places, self.scales)))


@dataclass(frozen=True)
class MovedLaw(Law):
    """The donor's law of one kind of op, moved by the change.

    Args:
        donor: fitted to the other target's rows.
        change: of all kinds of op that the table has rows of.
        kind: its number there.
    """

    donor: Law
    change: Change
    kind: int

    @classmethod
    def fit(
        cls, shapes: Shapes, latency_s: Floats, *, seed: int = 0, donor: Law | None = None
    ) -> Self:
        """Moved by the change of its own rows alone.

        Args:
            donor: the law to move; it must be given.
        """
        if donor is None:
            raise TypeError("a transfer has a donor")
        return cls.of_all({"": donor}, {"": (shapes, latency_s)}, seed=seed)[""]

    @classmethod
    def of_all(
        cls, donors: Mapping[str, Law], rows: Mapping[str, Timed], *, seed: int = 0
    ) -> dict[str, Self]:
        """Each of the donor's laws, by label; moved to the rows of all labels that it has."""
        known = [label for label in rows if label in donors]
        rng, most = np.random.default_rng(seed), -(-_MAX_ROWS // len(known))
        places, ours_s = [], []
        for kind, label in enumerate(known):
            shapes, latency_s = rows[label]
            drawn = np.sort(rng.permutation(len(shapes))[:most])
            places.append(Places.of(donors[label], shapes[drawn], kind))
            ours_s.append(latency_s[drawn])
        joined = Places.joined(places)
        change = Change.fit(joined, np.log(np.concatenate(ours_s)) - joined.x[:, 0])
        kinds = {label: kind for kind, label in enumerate(known)}
        return {label: cls(law, change, kinds.get(label, -1)) for label, law in donors.items()}

    @property
    def own_rows(self) -> NDArray[np.intp]:
        """Which rows of the change are of this kind."""
        return np.flatnonzero(self.change.places.kind == self.kind)

    def refit(self, shapes: Shapes, latency_s: Floats) -> Self:
        """To other rows of this kind; those of the other kinds stay."""
        change = self.change.without(self.change.places.kind == self.kind)
        place = self._places(shapes)
        places = Places.joined([change.places, place])
        y = np.concatenate([change.y, np.log(latency_s) - place.x[:, 0]])
        moved = Change.conditioned(places, y, change.center, change.scales)
        return replace(self, change=moved)

    def latency_s(self, shapes: Shapes) -> Floats:
        places = self._places(shapes)
        return np.asarray(np.exp(places.x[:, 0] + self.change.mean(places)))

    def spread(self, shapes: Shapes) -> Floats:
        """What the change leaves open, and what timing itself does between sessions."""
        return np.asarray(np.hypot(self.change.sd(self._places(shapes)), SESSION))

    def knots(self, member: Workload, axis: int, limit: int) -> Floats:
        return self.donor.knots(member, axis, limit)

    def _places(self, shapes: Shapes) -> Places:
        return Places.of(self.donor, shapes, self.kind)


def _root(places: Places, center: Floats, scales: Floats) -> Floats:
    covariance = _kernel(places, places, center, scales)
    covariance[np.diag_indices_from(covariance)] += _noise(places, scales)
    return np.asarray(cholesky(covariance, lower=True))


def _noise(places: Places, scales: Floats) -> Floats:
    """(N,) variance of a row for reasons of its own, here or at the donor."""
    return np.asarray(scales[3] ** 2 + places.unsure**2)


def _kernel(a: Places, b: Places, center: Floats, scales: Floats) -> Floats:
    """(N, M) covariance of the changes, without what is a row's own."""
    slope, kind, rest, _ = scales
    line = slope**2 * (a.x - center) @ (b.x - center).T
    alike = (a.kind[:, None] == b.kind) & (a.kind[:, None] >= 0)
    smooth = matern(cdist(a.sizes / _LENGTH, b.sizes / _LENGTH, "sqeuclidean"))
    return np.asarray(_LEVEL**2 + line + alike * (kind**2 + rest**2 * smooth))
