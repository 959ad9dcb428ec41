"""Timing by replays of graphs, on a GPU that is only arithmetic."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latprof.devices.agent.cuda._replay import (
    EVENT_RESOLUTION_S,
    Replayer,
    flush_bytes,
    time_replays,
)
from latprof.devices.agent.runtimes._base import Refused

GAP_S, LAUNCH_S, FLUSH_S = 1e-6, 6e-6, 25e-6


class Arithmetic(Replayer):
    """Each kernel takes its time and a gap; a replay its launch; the clock has steps."""

    def __init__(self, hot_s: float, cold_s: float, scatter: float = 0.0) -> None:
        self._times_s = {False: hot_s, True: cold_s}
        self._random = random.Random(0)
        self._scatter, self._total_s, self._flushed = scatter, 0.0, False
        self.copies: list[int] = []
        self._count = 0

    def work(self) -> None:
        self._total_s += self._times_s[self._flushed] + GAP_S
        self._flushed = False
        self._count += 1

    def flush(self) -> None:
        self._total_s += FLUSH_S + GAP_S
        self._flushed = True

    def capture(self, work: Callable[[], object]) -> Callable[[], object]:
        def replay() -> None:
            self._total_s, self._flushed, self._count = 0.0, False, 0
            work()

        return replay

    def elapsed_s(self, replay: Callable[[], object]) -> float:
        replay()
        self.copies.append(self._count)
        total_s = (self._total_s + LAUNCH_S) * (1 + self._random.gauss(0, self._scatter))
        return round(total_s / EVENT_RESOLUTION_S) * EVENT_RESOLUTION_S


@pytest.mark.parametrize("op_s", [0.3e-6, 3e-6, 80e-6, 2e-3])
def test_hot_samples_are_the_op_and_its_gap(op_s: float) -> None:
    gpu = Arithmetic(op_s, 9.0)
    samples_s, _ = time_replays(gpu, gpu.work, measure_s=0.005, cold=False)
    assert 5 <= len(samples_s) <= 40
    # The launch of a replay is shared by its copies: within 2% where a replay is 350 us or more.
    assert min(samples_s) == pytest.approx(op_s + GAP_S, rel=0.025)
    assert max(samples_s) == pytest.approx(op_s + GAP_S, rel=0.025)


@pytest.mark.parametrize("op_s", [3e-6, 80e-6, 2e-3])
def test_cold_samples_are_without_the_flush(op_s: float) -> None:
    gpu = Arithmetic(op_s / 2, op_s)
    samples_s, _ = time_replays(gpu, gpu.work, measure_s=0.005, cold=True)
    middle = sorted(samples_s)[len(samples_s) // 2]
    assert middle == pytest.approx(op_s + GAP_S, rel=0.02)


def test_cold_work_that_drowns_in_the_flush_is_refused() -> None:
    gpu = Arithmetic(0.0, -GAP_S, scatter=0.02)
    with pytest.raises(Refused, match="cache=hot"):
        time_replays(gpu, gpu.work, measure_s=0.005, cold=True)


@given(op_s=st.floats(1e-7, 1e-2))
def test_a_replay_is_a_thousand_steps_of_the_clock_or_as_long_as_may_be(op_s: float) -> None:
    gpu = Arithmetic(op_s, op_s)
    time_replays(gpu, gpu.work, measure_s=0.0, cold=False)
    copies = gpu.copies[-1]
    assert copies == 1024 or copies * (op_s + GAP_S) + LAUNCH_S >= 0.69e3 * EVENT_RESOLUTION_S


@given(l2=st.integers(0, 1 << 30))
def test_a_flush_reads_twice_l2_in_whole_words(l2: int) -> None:
    size = flush_bytes(l2)
    assert size >= 2 * l2
    assert size > 0
    assert size % 16 == 0
    assert size < 2 * (l2 or 64 << 20) + 16
