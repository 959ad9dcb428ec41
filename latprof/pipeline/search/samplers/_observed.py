"""What a study knows of the samples that are finished, and of those that are not."""

from __future__ import annotations

from dataclasses import dataclass

from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState

__all__ = [
    "MOVED",
    "PROGRESS",
    "Observed",
    "describe_original",
    "describe_sample",
    "observed",
    "progress_of",
    "running",
]

#: The parameter: share of the way from the original (0) to the lowest that the masks reach (1).
PROGRESS = "progress"
#: The attribute of a trial that was taken elsewhere than at its parameter, for its widths would
#: have been another's.
MOVED = "moved"
_EXCESS, _ERROR, _OBJECTIVE = "excess", "standard_error", "objective"


@dataclass(frozen=True)
class Observed:
    """One finished sample.

    Args:
        progress: where it was taken, in [0, 1]; 0 is the original.
        excess: how much better its metric is than the floor; below 0 it is worse.
        standard_error: of the metric.
        objective: what is to be as low or as high as can be.
    """

    progress: float
    excess: float
    standard_error: float
    objective: float

    @property
    def margin(self) -> float:
        """The excess less one standard error: what passes is at 0 or above."""
        return self.excess - self.standard_error


def describe_original(study: Study, original: Observed) -> None:
    """Let samplers know of the original, which no sample is spent on."""
    for key, value in _described(original).items():
        study.set_user_attr(key, value)
    study.set_user_attr(_OBJECTIVE, original.objective)


def describe_sample(trial: Trial, sample: Observed) -> None:
    """What a sample was found to be, for samplers, and as a constraint of Optuna's; its objective
    is the value that the trial ends with."""
    for key, value in _described(sample).items():
        trial.set_user_attr(key, value)
    trial.set_constraint("floor", -sample.margin)


def observed(study: Study) -> list[Observed]:
    """The original, then the finished samples in the order in which they began."""
    attrs = study.user_attrs
    found = [Observed(0.0, attrs[_EXCESS], attrs[_ERROR], attrs[_OBJECTIVE])]
    for trial in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
        attrs, values = trial.user_attrs, trial.values
        assert values is not None
        found.append(Observed(progress_of(trial), attrs[_EXCESS], attrs[_ERROR], values[0]))
    return found


def progress_of(trial: FrozenTrial) -> float:
    """Where a sample is taken."""
    return float(trial.user_attrs.get(MOVED, trial.params[PROGRESS]))


def running(study: Study, trial: FrozenTrial) -> list[float]:
    """Where other samples are being taken now."""
    others = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    return [
        progress_of(other)
        for other in others
        if other.number != trial.number and PROGRESS in other.params
    ]


def _described(sample: Observed) -> dict[str, float]:
    return {_EXCESS: sample.excess, _ERROR: sample.standard_error}
