"""The samples of a search as a study of Optuna in the run folder, shared by processes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, Trial

from latprof.pipeline.search._shared import Choices, SharedTrials
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

#: Where samples are taken; less is the original itself.
_WAY = (1e-3, 1.0)


@dataclass(frozen=True)
class Claim:
    """A sample that this process takes, and no other.

    Args:
        trial: of the study.
        number: from 1.
        progress: where it is taken.
        folder: for what it leaves.
        settings: its other parameters.
    """

    trial: Trial
    number: int
    progress: float
    folder: Path
    settings: Mapping[str, str | int | float]

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
        maximized: for each objective, whether it is better the larger it is.
        space: parameters beside the progress.
    """

    def __init__(
        self,
        folder: Path,
        sampler: BaseSampler,
        original: Observed,
        *,
        maximized: Sequence[bool],
        space: Mapping[str, Choices],
    ) -> None:
        self._space = {PROGRESS: _WAY, **space}
        self._trials = SharedTrials(folder, "samples", sampler, maximized=maximized)
        with self._trials.turn:
            describe_original(self._trials.study, original)

    @contextmanager
    def claim(self, samples: int) -> Iterator[Claim | None]:
        """The next sample to take; None once there are so many, none of them still being taken."""
        with self._trials.claim(samples, self._space) as trial:
            if trial is None:
                yield None
                return
            home = self._trials.home(trial.number)
            yield Claim(
                trial, trial.number + 1, trial.params[PROGRESS], home, _settings(trial.params)
            )

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
        self._trials.study.tell(trial, sample.objectives or [sample.objective])

    def finished(self) -> tuple[SampleResult, ...]:
        """All finished samples, in the order in which they began."""
        return tuple(map(_sample, self._trials.finished()))


def _sample(trial: FrozenTrial) -> SampleResult:
    attrs, values = trial.user_attrs, trial.values
    assert values is not None
    return SampleResult(
        number=trial.number + 1,
        progress=progress_of(trial),
        metric=attrs["metric"],
        standard_error=attrs["standard_error"],
        one_shot=attrs["one_shot"],
        objective=values[0],
        latency_s=attrs["latency_s"],
        passes=attrs["passes"],
        objectives=tuple(values) if len(values) > 1 else (),
        settings=_settings(trial.params),
    )


def _settings(params: Mapping[str, Any]) -> dict[str, Any]:
    """All but the progress."""
    return {name: value for name, value in params.items() if name != PROGRESS}
