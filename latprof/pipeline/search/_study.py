"""The samples of a search as a study of Optuna in the run folder, shared by processes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, Trial

from latprof.pipeline.search._shared import SharedTrials
from latprof.pipeline.search.samplers import (
    MOVED,
    PROGRESS,
    Observed,
    describe_original,
    describe_sample,
    progress_of,
)
from latprof.vocabulary import SampleResult

__all__ = ["Claim", "Samples"]

#: Two samples this close, as a share of the way, are one network.
_LEAST = 1e-3


@dataclass(frozen=True)
class Claim:
    """A sample that this process takes, and no other.

    Args:
        trial: of the study.
        number: from 1.
        progress: where it is taken.
        folder: for what it leaves.
    """

    trial: Trial
    number: int
    progress: float
    folder: Path

    @property
    def moved(self) -> float | None:
        """Where it was moved to; None where it was not, or not yet."""
        found: float | None = self.trial.user_attrs.get(MOVED)
        return found

    def move(self, progress: float) -> None:
        """Take it elsewhere, also after a kill."""
        self.trial.set_user_attr(MOVED, progress)


class Samples:
    """What was sampled, and who samples what now.

    Args:
        folder: of the run; gets ``study.journal`` and ``samples/``.
        sampler: says where the next sample is taken.
        original: what is known without any sample.
        maximized: the objective is better the larger it is.
    """

    def __init__(
        self, folder: Path, sampler: BaseSampler, original: Observed, *, maximized: bool
    ) -> None:
        self._trials = SharedTrials(folder, "samples", sampler, maximized=maximized)
        with self._trials.turn:
            describe_original(self._trials.study, original)

    @contextmanager
    def claim(self, samples: int) -> Iterator[Claim | None]:
        """The next sample to take; None once there are so many, none of them still being taken."""
        with self._trials.claim(samples, {PROGRESS: (_LEAST, 1.0)}) as trial:
            if trial is None:
                yield None
                return
            home = self._trials.home(trial.number)
            yield Claim(trial, trial.number + 1, trial.params[PROGRESS], home)

    def record(self, claim: Claim, sample: SampleResult, excess: float) -> None:
        """End a sample: it is finished for all processes.

        Args:
            excess: how much better its metric is than the floor.
        """
        trial = claim.trial
        for key in ("metric", "one_shot", "latency_s", "passes"):
            trial.set_user_attr(key, getattr(sample, key))
        found = Observed(sample.progress, excess, sample.standard_error, sample.objective)
        describe_sample(trial, found)
        self._trials.study.tell(trial, sample.objective)

    def finished(self) -> tuple[SampleResult, ...]:
        """All finished samples, in the order in which they began."""
        return tuple(map(_sample, self._trials.finished()))


def _sample(trial: FrozenTrial) -> SampleResult:
    attrs = trial.user_attrs
    assert trial.value is not None
    return SampleResult(
        number=trial.number + 1,
        progress=progress_of(trial),
        metric=attrs["metric"],
        standard_error=attrs["standard_error"],
        one_shot=attrs["one_shot"],
        objective=trial.value,
        latency_s=attrs["latency_s"],
        passes=attrs["passes"],
    )
