"""The sample that a search ends in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from latprof.compress import Judgment
from latprof.pipeline.search._front import front_of, middle_of
from latprof.pipeline.search._sample import Sampling
from latprof.report import metric_text
from latprof.vocabulary import SampleResult

__all__ = ["Choice", "choose"]

#: Samples whose objective is this near the best one's are compared on the device.
_NEAR = 0.05


@dataclass(frozen=True)
class Choice:
    """What was chosen.

    Args:
        number: of the sample.
        kept: it keeps the floor, judged again.
        note: how it was chosen, or what it would take.
        front: of several objectives, numbers of the trade-offs.
    """

    number: int
    kept: bool
    note: str
    front: tuple[int, ...] = ()


def choose(
    sampling: Sampling,
    samples: tuple[SampleResult, ...],
    originals: Sequence[float],
    on_stage: Callable[[str], None],
) -> Choice:
    """The best objective among the samples that pass by 1.28 standard errors and, judged again from
    their files, pass again; where none does, the least reduced of those that pass at all. Those
    within 5% of the best are timed in turns, where the objective is a time."""
    if len(sampling.objectives) > 1:
        return _trade_off(sampling, samples, originals, on_stage)
    left = _candidates(sampling, samples)
    while left:
        number, note = _best(sampling, left, on_stage)
        on_stage(f"judging sample {number} again, from its files")
        judged = sampling.judge_again(number)
        if sampling.floor.passes(judged):
            return Choice(number, True, note)
        del left[number]
    return _nothing(sampling, samples)


def _trade_off(
    sampling: Sampling,
    samples: tuple[SampleResult, ...],
    originals: Sequence[float],
    on_stage: Callable[[str], None],
) -> Choice:
    """Of the front of those that may be chosen, the one whose objectives are best together."""
    left = _candidates(sampling, samples)
    names = " and ".join(objective.name for objective in sampling.objectives)
    while left:
        front = front_of(list(left.values()), sampling.maximized)
        number = middle_of(front, originals, sampling.maximized)
        on_stage(f"judging sample {number} again, from its files")
        if sampling.floor.passes(sampling.judge_again(number)):
            numbers = tuple(s.number for s in front)
            note = f"best {names} together of {len(numbers)} trade-off(s); see front.csv"
            return Choice(number, True, note, numbers)
        del left[number]
    return _nothing(sampling, samples)


def _candidates(sampling: Sampling, samples: tuple[SampleResult, ...]) -> dict[int, SampleResult]:
    """Samples that may be chosen, by number."""
    passing = [s for s in samples if s.passes]
    judged = {s.number: Judgment(s.metric, s.standard_error) for s in passing}
    sure = [s for s in passing if sampling.floor.passes_surely(judged[s.number])]
    least = sorted(passing, key=lambda s: s.progress)[:1]
    return {s.number: s for s in sure or least}


def _best(
    sampling: Sampling, left: dict[int, SampleResult], on_stage: Callable[[str], None]
) -> tuple[int, str]:
    objective = sampling.objective
    ranked = objective.best({number: s.objective for number, s in left.items()})
    best = left[ranked[0]].objective
    near = [n for n in ranked if abs(left[n].objective - best) <= _NEAR * abs(best)]
    if len(near) == 1 or not objective.is_timed:
        return ranked[0], f"best {objective.name} of {len(left)} that keep the floor"
    on_stage(f"comparing samples {', '.join(map(str, near))} in turns")
    suffix = sampling.training.deployment.suffix
    shares = sampling.shares([sampling.stem(n).with_suffix(suffix) for n in near])
    fastest = min(zip(shares, near, strict=True))[1]
    return fastest, f"fastest of {len(near)} that keep the floor, timed in turns"


def _nothing(sampling: Sampling, samples: tuple[SampleResult, ...]) -> Choice:
    """The nearest to the floor, and the floor that it would keep."""
    floor, task = sampling.floor, sampling.training.deployment.task
    judged = {s.number: Judgment(s.metric, s.standard_error) for s in samples}
    number = max(judged, key=lambda n: floor.excess(judged[n]) - judged[n].standard_error)
    keeps = floor.would_take(judged[number])
    figures = {"seen": judged[number].value, "takes": keeps, "floor": floor.value}
    text = {name: metric_text(task.metric, value) for name, value in figures.items()}
    return Choice(
        number,
        False,
        f"no sample keeps {text['floor']}; the best has {text['seen']}, which keeps "
        f"{text['takes']} less one standard error: try keep = '{text['takes']}', more epochs of "
        "fine-tuning, or more held-out data",
    )
