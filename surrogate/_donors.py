"""Donors: other targets' fits, moved to the rows of a table."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from latprof.errors import TargetMismatchError
from latprof.surrogate._surrogate import Surrogate
from latprof.surrogate.methods import Law
from latprof.tables import LatencyTable
from latprof.vocabulary import Target

__all__ = ["Donor", "DonorWarning", "require_other_targets", "warn_of_unused"]


class DonorWarning(UserWarning):
    """A donor that was given to ``fit`` helps with no kind of op."""


@dataclass(frozen=True)
class Donor:
    """Another target's laws, by kind of op."""

    target: Target
    laws: Mapping[str, Law]

    @classmethod
    def of(cls, fitted: Surrogate) -> Donor:
        return cls(fitted.target, {name: label.law for name, label in fitted.labels.items()})


def require_other_targets(table: LatencyTable, donors: Sequence[LatencyTable]) -> None:
    """Raise TargetMismatchError where a donor is of the table's own target."""
    for donor in donors:
        if donor.target == table.target:
            raise TargetMismatchError(
                f"the donor is of the table's own target, {donor.target}; put their rows together "
                "with: latprof table merge"
            )


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
