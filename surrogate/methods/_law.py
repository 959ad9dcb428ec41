"""What every surrogate method is: a law, from the shapes of one kind of op to latency."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, Self

from latprof.surrogate._shapes import Floats, Shapes
from latprof.workloads import Workload

__all__ = ["Law"]


class Law(ABC):
    """Latency of the ops of one label, fitted to measurements. What is tested of every method:

    - ``latency_s`` is positive, finite and deterministic anywhere in 1..10x the fitted range;
    - on rows it was fitted to it is nearer than a constant is;
    - scaling every measured latency scales every prediction, to 1%;
    - ``spread`` is positive, and ``knots`` rise strictly from 1 to the limit.
    """

    #: Knots per axis that a gradient is drawn through at most; beyond, every second is left out.
    max_knots: int = 48

    #: Whether ``refit`` costs little with ten thousands of rows, and there is ``conditioned``.
    takes_many_rows: ClassVar[bool] = False

    @classmethod
    @abstractmethod
    def fit(cls, shapes: Shapes, latency_s: Floats, *, seed: int = 0) -> Self:
        """Choose structure and weights. Raises FitError where the rows do not carry the method."""

    @abstractmethod
    def refit(self, shapes: Shapes, latency_s: Floats) -> Self:
        """The same structure, weights from other rows: what cross-validation repeats."""

    @abstractmethod
    def latency_s(self, shapes: Shapes) -> Floats:
        """(N,) seconds."""

    @abstractmethod
    def spread(self, shapes: Shapes) -> Floats:
        """(N,) how unsure the law is of each op relative to the others; any common unit."""

    def conditioned(self, shapes: Shapes, latency_s: Floats) -> Self:
        """The residual of these rows alone, by this law's structure, weights and hyperparameters;
        of laws that take many rows."""
        raise NotImplementedError(type(self).__name__)

    def with_spread(self, shapes: Shapes) -> tuple[Floats, Floats]:
        """Both at once, for laws that compute them together."""
        return self.latency_s(shapes), self.spread(shapes)

    @abstractmethod
    def knots(self, member: Workload, axis: int, limit: int) -> Floats:
        """Counts of one axis (0: c_in, 1: c_out) of the member's family, between which the law
        may be drawn straight for a gradient; rising from 1 to ``limit``."""
