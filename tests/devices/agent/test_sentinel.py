"""What a look at the sentinel tells while a core comes to its pace."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from latprof.devices.agent._host import Knobs
from latprof.devices.agent._sentinel import AT_MEMORY, Sentinel
from latprof.devices.agent.runtimes._base import Array, Prepared


class Paced(Prepared):
    """A call that takes, from one timing to the next, what the list says."""

    def __init__(self, takes_s: list[float]) -> None:
        self._takes_s: Iterator[float] = iter(takes_s)
        self.call = lambda: None

    def time(self, *, measure_s: float, resolution_s: float) -> tuple[list[float], float, float]:
        return [next(self._takes_s)] * 5, 1.0, measure_s

    def run(self, inputs: object) -> list[Array]:
        raise NotImplementedError


def sentinel(takes_s: list[float]) -> Sentinel:
    knobs = Knobs(1)
    return Sentinel(Paced(takes_s), knobs, resolution_s=1e-9, every_s=0.0, patience_s=0.0)


@pytest.mark.parametrize("slow", range(8))
def test_a_core_that_comes_to_its_pace_is_waited_for(slow: int) -> None:
    looks = sentinel([1.2] * 7 + [1.0] + [1.2] * slow + [1.01] + [9.9])
    assert looks.look() == 1.0  # nothing is known yet: all are taken
    assert looks.look() == 1.01
    assert looks.cost_s == pytest.approx(0.0004 * (slow + 1))


def test_a_core_that_is_slow_for_longer_is_seen_to_be() -> None:
    looks = sentinel([1.0] * 8 + [1.2] * 8 + [1.0])
    assert looks.look() == 1.0
    assert looks.look() == 1.2
    assert looks.look() == 1.0


def test_the_memory_is_looked_at_twice_and_not_waited_for() -> None:
    looks = Sentinel(
        Paced([1.5, 1.0, 1.2, 1.1, 1.3, 1.2, 1.2]), Knobs(1), resolution_s=1e-9, at=AT_MEMORY
    )
    assert looks.settle(0.5) == 1.0
    assert looks.look() == 1.1
    assert looks.look() == 1.2


def test_a_first_look_at_a_slow_core_does_not_make_it_the_best() -> None:
    looks = sentinel([1.2] * 8 + [1.0] + [1.2] * 8)
    assert [looks.look() for _ in range(3)] == [1.2, 1.0, 1.2]
