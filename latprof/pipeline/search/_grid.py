"""The study of a sweep."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from optuna.samplers import GridSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from latprof.pipeline.search._shared import SharedTrials

__all__ = ["grid_trials"]


class _Grid(GridSampler):
    """Of trials that are claimed one by one: there is no loop that it could stop in the end."""

    def after_trial(
        self,
        study: Study,
        trial: FrozenTrial,
        state: TrialState,
        values: Sequence[float] | None,
    ) -> None:
        pass


def grid_trials(folder: Path, values: dict[str, list[Any]], storage: str | None) -> SharedTrials:
    """A trial per combination of values, in a study in the folder, or at an address."""
    return SharedTrials(folder, ".sweep", _Grid(values, seed=0), storage=storage)
