"""What samplers of one parameter have in common."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial

from latprof.pipeline.search.samplers._observed import Observed, observed, running

__all__ = ["OwnSampler"]


class OwnSampler(BaseSampler):
    """A sampler of the progress alone.

    Law: the next sample follows from the study and the trial's number alone, so that a study that
    was killed goes on as it would have.
    """

    @abstractmethod
    def next(
        self, points: list[Observed], busy: list[float], number: int, *, maximized: bool
    ) -> float:
        """Where to sample, in (0, 1].

        Args:
            points: the original, then all finished samples.
            busy: where others sample now.
            number: of this sample, from 0.
            maximized: the objective is better the larger it is.
        """

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        return {}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return {}

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        assert isinstance(param_distribution, FloatDistribution)
        maximized = study.direction.name == "MAXIMIZE"
        found = self.next(observed(study), running(study, trial), trial.number, maximized=maximized)
        return min(max(found, param_distribution.low), param_distribution.high)
