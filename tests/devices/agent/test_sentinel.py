"""What a probe of the sentinel gives, and how long an idle core is waited for."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from latprof.devices.agent._clock import Timed
from latprof.devices.agent._host import Knobs
from latprof.devices.agent._sentinel import MEMORY_PROBE, Sentinel
from latprof.devices.agent.runtimes._base import Array, Prepared


class Scripted(Prepared):
    """A call that takes, from one timing to the next, what the list says; then its last."""

    def __init__(self, takes_s: list[float]) -> None:
        self._takes_s: Iterator[float] = iter(takes_s)
        self._last_s = 0.0
        self.call = lambda: None

    def time(self, *, measure_s: float, resolution_s: float) -> Timed:
        self._last_s = next(self._takes_s, self._last_s)
        return Timed([self._last_s] * 5, 1.0, measure_s)

    def run(self, inputs: object) -> list[Array]:
        raise NotImplementedError


def sentinel(takes_s: list[float]) -> Sentinel:
    return Sentinel(Scripted(takes_s), Knobs(1, affinity="none"), resolution_s=1e-9)


@pytest.mark.parametrize("slow", range(8))
def test_a_core_that_comes_to_its_full_speed_is_probed_until_then(slow: int) -> None:
    probed = sentinel([1.2] * 7 + [1.0] + [1.2] * slow + [1.01] + [9.9])
    assert probed.probe() == 1.0  # nothing is known yet: all are taken
    assert probed.probe() == 1.01
    assert probed.cost_s == pytest.approx(0.0004 * (slow + 1))


def test_a_core_that_is_slow_for_longer_is_seen_to_be() -> None:
    probed = sentinel([1.0] * 8 + [1.2] * 8 + [1.0])
    assert [probed.probe() for _ in range(3)] == [1.0, 1.2, 1.0]


def test_the_memory_is_probed_twice() -> None:
    probed = Sentinel(
        Scripted([1.5, 1.0, 1.2, 1.1, 1.3, 1.2, 1.2]),
        Knobs(1, affinity="none"),
        resolution_s=1e-9,
        how=MEMORY_PROBE,
    )
    assert [probed.probe() for _ in range(3)] == [1.0, 1.1, 1.2]


def test_a_first_probe_of_a_slow_core_does_not_make_it_the_fastest() -> None:
    probed = sentinel([1.2] * 8 + [1.0] + [1.2] * 8)
    assert [probed.probe() for _ in range(3)] == [1.2, 1.0, 1.2]


def test_an_idle_core_is_waited_for_and_the_wait_is_stated() -> None:
    probed = sentinel([1.0] * 8 + [1.5] * 24 + [1.0])
    probed.probe()
    assert probed.wait_for_idle(1.1, max_wait_s=5.0) == 1.0
    assert 0.002 < probed.waited_s < 1.0
    assert probed.wait_for_idle(1.1, max_wait_s=5.0) == 1.0
    assert probed.waited_s < 0.001


@pytest.mark.parametrize("max_wait_s", [0.0, 0.05])
def test_a_core_that_never_becomes_idle_is_not_waited_for_longer(max_wait_s: float) -> None:
    probed = sentinel([1.5])
    start = time.perf_counter()
    assert probed.wait_for_idle(1.0, max_wait_s) == 1.5
    assert time.perf_counter() - start < max_wait_s + 0.1
    assert probed.waited_s == pytest.approx(max_wait_s, abs=0.03)
