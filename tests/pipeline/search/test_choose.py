"""Which of the samples a search ends in; the device is a table of shares."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from latprof.compress import Classification, Judgment
from latprof.pipeline.search._choose import choose
from latprof.pipeline.search._floor import Floor
from latprof.pipeline.search._objective import Objective
from latprof.vocabulary import SampleResult

FLOOR = Floor("-1%", Judgment(0.9, 0.01), 0.89, higher_is_better=True)


def sample(number: int, metric: float, objective: float) -> SampleResult:
    passes = FLOOR.passes(Judgment(metric, 0.005))
    return SampleResult(number, number / 10, metric, 0.005, None, objective, objective, passes)


def chosen(
    samples: list[SampleResult],
    *,
    shares: dict[int, float] | None = None,
    again: dict[int, float] | None = None,
    name: str = "latency",
) -> Any:
    timed: list[list[int]] = []

    def in_turns(files: list[Path]) -> list[float]:
        timed.append([int(f.stem) for f in files])
        return [(shares or {})[number] for number in timed[-1]]

    def judge_again(number: int) -> Judgment:
        known = {s.number: s.metric for s in samples} | (again or {})
        return Judgment(known[number], 0.005)

    deployment = SimpleNamespace(suffix=".onnx", task=Classification())
    sampling: Any = SimpleNamespace(
        objective=Objective(name, name == "throughput"),
        floor=FLOOR,
        training=SimpleNamespace(deployment=deployment),
        shares=in_turns,
        stem=lambda number: Path(f"samples/{number}"),
        judge_again=judge_again,
    )
    return choose(sampling, tuple(samples), lambda text: None), timed


def test_those_near_the_best_are_timed_in_turns_and_the_fastest_is_taken() -> None:
    samples = [sample(1, 0.93, 2.0), sample(2, 0.91, 1.0), sample(3, 0.91, 1.04)]
    choice, timed = chosen(samples, shares={2: 0.52, 3: 0.50})
    assert timed == [[2, 3]]
    assert (choice.number, choice.kept) == (3, True)


def test_a_throughput_is_better_the_larger_it_is_and_bytes_are_not_timed() -> None:
    samples = [sample(1, 0.93, 100.0), sample(2, 0.91, 200.0), sample(3, 0.88, 300.0)]
    assert chosen(samples, name="throughput")[0].number == 2
    choice, timed = chosen([sample(1, 0.93, 100.0), sample(2, 0.93, 99.0)], name="bytes")
    assert (choice.number, timed) == (2, [])


def test_a_sample_that_fails_when_judged_again_gives_way_to_the_next() -> None:
    samples = [sample(1, 0.93, 2.0), sample(2, 0.91, 1.0)]
    assert chosen(samples, again={2: 0.894})[0].number == 1


def test_where_none_keeps_the_floor_it_says_what_it_would_take() -> None:
    choice, _ = chosen([sample(1, 0.892, 2.0), sample(2, 0.85, 1.0)])
    assert (choice.number, choice.kept) == (1, False)
    assert "no sample keeps 89.00%; the best has 89.20%" in choice.note
    assert "try keep = '88.70%'" in choice.note


def test_the_choice_is_surely_above_the_floor_where_one_is() -> None:
    lucky = sample(2, 0.8955, 1.0)  # 1.1 standard errors above it
    assert lucky.passes
    assert chosen([sample(1, 0.93, 2.0), lucky])[0].number == 1
    choice, _ = chosen([sample(1, 0.8956, 2.0), lucky])
    assert (choice.number, choice.kept) == (1, True)  # the least reduced
