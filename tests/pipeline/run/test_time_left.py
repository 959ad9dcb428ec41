"""How long a run still takes."""

from __future__ import annotations

import itertools

import pytest

from latprof.pipeline.run._time_left import TimeLeft


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def left(clock: Clock) -> TimeLeft:
    return TimeLeft({"masks": 100, "fine_tune": 50}, clock=clock)


def test_both_phases_are_one_way_and_each_has_its_speed(left: TimeLeft, clock: Clock) -> None:
    assert left.see("masks", 1) == (pytest.approx(1 / 150), None)
    clock.now_s = 98.0
    assert left.see("masks", 50) == (pytest.approx(1 / 3), pytest.approx(200.0))
    clock.now_s = 198.0
    assert left.see("masks", 100)[1] == pytest.approx(100.0)
    left.see("fine_tune", 1)
    clock.now_s += 24.0  # half as long a step
    share, left_s = left.see("fine_tune", 25)
    assert share == pytest.approx(125 / 150)
    assert left_s == pytest.approx(25.0)


def test_what_is_measured_after_training_counts(left: TimeLeft, clock: Clock) -> None:
    left.see("masks", 1)
    clock.now_s = 99.0
    left.measured(7.0, times=3)
    assert left.see("masks", 100)[1] == pytest.approx(50.0 + 21.0)


def test_a_run_that_goes_on_counts_its_own_steps_alone(left: TimeLeft, clock: Clock) -> None:
    assert left.see("fine_tune", 30) == (pytest.approx(130 / 150), None)
    clock.now_s = 10.0
    assert left.see("fine_tune", 40)[1] == pytest.approx(10.0)


def test_samples_are_timed_whole_and_the_time_left_falls_evenly(clock: Clock) -> None:
    left, seen = TimeLeft({"masks": 10, "fine_tune": 40}, clock=clock), []
    for step in range(1, 11):
        clock.now_s += 1.0
        left.see("masks", step)
    for number in range(4):
        sample = left.sample(10 * number, 10)
        for step in range(1, 11):
            clock.now_s += 1.0
            seen.append(sample.see("fine_tune", step)[1])
        clock.now_s += 20.0  # measured and judged: as long again as two trainings
    assert seen[10] == pytest.approx(3 * 30.0)  # one is finished: 30 s each
    later = [value for value in seen[10:] if value is not None]
    falls = [a - b for a, b in itertools.pairwise(later)]
    assert min(falls) == pytest.approx(1.0)
    assert max(falls) == pytest.approx(21.0)  # over a measurement


def test_a_sample_that_was_begun_by_another_process_says_nothing_of_whole_ones(
    clock: Clock,
) -> None:
    left = TimeLeft({"masks": 10, "fine_tune": 30}, clock=clock)
    resumed = left.sample(0, 10)
    resumed.see("fine_tune", 8)
    clock.now_s = 2.0
    assert resumed.see("fine_tune", 10)[1] == pytest.approx(20.0)
    clock.now_s = 3.0
    assert left.sample(10, 10).see("fine_tune", 1)[1] == pytest.approx(19.0)
