"""The masks on their way down: their state at each level, from which a sample is taken."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from latprof.compress import Compressor
from latprof.compress.train import load_state, save_state
from latprof.errors import UsageError

__all__ = ["Levels"]

#: Levels between the original and the lowest that the masks reach.
_LEVELS = 12


class Levels:
    """States of a Compressor, saved as its masks pass each level.

    Args:
        folder: gets ``1.state`` and so on; weights, masks and importances of each.
        comp: whose masks go down.
    """

    def __init__(self, folder: Path, comp: Compressor) -> None:
        self._folder, self._comp = folder, comp
        self._ways = {number: number / _LEVELS for number in range(1, _LEVELS + 1)}
        folder.mkdir(parents=True, exist_ok=True)

    def see(self) -> None:
        """Save what was passed for the first time; a run that goes on saves nothing twice."""
        for number, way in self._ways.items():
            if self._path(number).exists():
                continue
            if self._comp.budget_ratio(way) > 1:
                return
            save_state(self._path(number), {"compressor": self._comp.state_dict()})

    def take(self, ways: Sequence[float]) -> None:
        """Bring the Compressor to this share of the way to each of its budgets, its masks fixed
        there: from the state of the last level above all of them, or of the first.

        Raises:
            UsageError: no level was passed.
        """
        passed = [number for number in self._ways if self._path(number).exists()]
        if not passed:
            raise UsageError(
                f"the masks of {self._comp.method!r} passed no level; expected more epochs of masks"
            )
        above = [number for number in passed if self._ways[number] <= min(ways)]
        state = load_state(self._path(max(above, default=min(passed))), "cpu")
        self._comp.load_state_dict(state["compressor"])
        deepest = max(ways)
        with self._comp.goals.along([way / deepest for way in ways]):
            self._comp.fix(deepest)

    def _path(self, number: int) -> Path:
        return self._folder / f"{number}.state"
