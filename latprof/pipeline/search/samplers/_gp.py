"""Optuna's Gaussian process, with the floor as its constraint."""

from __future__ import annotations

from typing import Any

from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, GPSampler
from optuna.study import Study
from optuna.trial import FrozenTrial

__all__ = ["GP"]

#: Samples at random before there is anything to fit.
_STARTUP = 2
#: Seeds of one sample are not those of another search's.
_STRIDE = 1009


class GP(BaseSampler):
    """``optuna.samplers.GPSampler`` with the constraint that samples have.

    A new one for each sample, seeded by the sample's number: a study that was killed goes on to the
    same samples.

    Args:
        seed: of the search.

    Example:
        >>> import optuna
        >>> optuna.create_study(sampler=GP(seed=0))  # doctest: +SKIP
    """

    def __init__(self, seed: int = 0) -> None:
        self._seed = seed

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        return self._of(trial).infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return self._of(trial).sample_relative(study, trial, search_space)

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        sampler = self._of(trial)
        return sampler.sample_independent(study, trial, param_name, param_distribution)

    def _of(self, trial: FrozenTrial) -> GPSampler:
        return GPSampler(
            seed=_STRIDE * self._seed + trial.number,
            n_startup_trials=_STARTUP,
            warn_independent_sampling=False,
        )
