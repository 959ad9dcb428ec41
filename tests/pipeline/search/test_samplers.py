"""Where searches sample next: on curves whose knee is known."""

from __future__ import annotations

from collections.abc import Callable

import optuna
import pytest

from latprof.pipeline.search import GP, Bracket, DrUcb
from latprof.pipeline.search.samplers import (
    PROGRESS,
    Observed,
    describe_original,
    describe_sample,
    make_sampler,
)

optuna.logging.set_verbosity(optuna.logging.WARNING)

ERROR = 0.0005
KNEE = 0.62


def excess_at(progress: float) -> float:
    """A point at the original, nothing at the knee, and falling ever faster."""
    return float(0.01 * (1 - (progress / KNEE) ** 4))


def study_of(sampler: optuna.samplers.BaseSampler) -> optuna.Study:
    study = optuna.create_study(sampler=sampler)
    describe_original(study, Observed(0.0, 0.01, ERROR, 1.0))
    return study


def sample(study: optuna.Study, curve: Callable[[float], float] = excess_at) -> float:
    trial = study.ask()
    progress = trial.suggest_float(PROGRESS, 1e-3, 1.0)
    found = Observed(progress, curve(progress), ERROR, 1 - 0.8 * progress)
    describe_sample(trial, found)
    study.tell(trial, found.objective)
    return progress


def deepest(study: optuna.Study) -> float:
    passing = [t for t in study.trials if t.constraints["floor"] <= 0]
    return max((t.params[PROGRESS] for t in passing), default=0.0)


@pytest.mark.parametrize(("by", "gap"), [("bracket", 0.04), ("dr-ucb", 0.25), ("gp", 0.25)])
def test_ten_samples_come_near_the_knee_and_never_past_it(by: str, gap: float) -> None:
    study = study_of(make_sampler(by, samples=10, seed=0))
    for _ in range(10):
        assert 0 < sample(study) <= 1
    assert KNEE - gap < deepest(study) <= KNEE


@pytest.mark.parametrize("by", ["bracket", "dr-ucb", "gp"])
def test_a_study_that_goes_on_takes_the_samples_that_it_would_have_taken(by: str) -> None:
    whole = study_of(make_sampler(by, samples=5, seed=3))
    at_once = [sample(whole) for _ in range(5)]
    study = study_of(make_sampler(by, samples=5, seed=3))
    one_by_one = []
    for _ in range(5):
        study.sampler = make_sampler(by, samples=5, seed=3)  # as a new process would
        one_by_one.append(sample(study))
    assert one_by_one == at_once


def test_a_bracket_halves_then_interpolates() -> None:
    study = study_of(Bracket())
    assert sample(study) == 0.5  # passes
    assert sample(study) == 0.75  # does not
    low, high = excess_at(0.5) - ERROR, excess_at(0.75) - ERROR
    assert sample(study) == pytest.approx(0.5 + 0.25 * low / (low - high))


def test_a_bracket_ends_at_the_lowest_where_everything_passes() -> None:
    study = study_of(Bracket())
    taken = [sample(study, lambda progress: 0.01) for _ in range(7)]
    assert taken == sorted(taken)
    assert taken[-1] == 1.0


def test_a_bracket_nears_the_original_where_nothing_passes() -> None:
    study = study_of(Bracket())
    taken = [sample(study, lambda progress: -0.02) for _ in range(4)]
    assert taken == sorted(taken, reverse=True)


@pytest.mark.parametrize("sampler", [Bracket(), DrUcb(samples=6)])
def test_processes_side_by_side_sample_apart(sampler: optuna.samplers.BaseSampler) -> None:
    study = study_of(sampler)
    sample(study)
    at_once = [study.ask().suggest_float(PROGRESS, 1e-3, 1.0) for _ in range(3)]
    assert len({round(p, 2) for p in at_once}) == 3


def test_dr_ucb_restricts_its_domain_to_what_is_deeper_than_what_passed() -> None:
    study = study_of(DrUcb(samples=9))
    for _ in range(6):
        before = deepest(study)
        assert sample(study) > before
    for _ in range(3):  # then the objective, between the original and the deepest that passed
        assert sample(study) <= deepest(study)


def test_the_gp_sees_the_floor_as_a_constraint() -> None:
    study = study_of(GP(seed=1))
    for _ in range(8):
        sample(study)
    late = [t.params[PROGRESS] for t in study.trials[4:]]
    assert sum(abs(p - KNEE) < 0.2 for p in late) >= 2
