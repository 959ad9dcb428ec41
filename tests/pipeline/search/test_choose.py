"""Which of the samples a search ends in; the device is a table of shares."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from latprof.compress import Classification, Judgment
from latprof.pipeline.search._choose import choose
from latprof.pipeline.search._floor import Floor
from latprof.pipeline.search._front import front_of, middle_of, write_front
from latprof.pipeline.search._objective import Objective
from latprof.vocabulary import ObjectiveResult, SampleResult, SearchResult

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
        objectives=(Objective(name, name == "throughput"),),
        floor=FLOOR,
        training=SimpleNamespace(deployment=deployment),
        shares=in_turns,
        stem=lambda number: Path(f"samples/{number}"),
        judge_again=judge_again,
    )
    return choose(sampling, tuple(samples), [1.0], lambda text: None), timed


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


def several(number: int, metric: float, *values: float) -> SampleResult:
    return replace(sample(number, metric, values[0]), objectives=values)


def test_the_front_is_what_no_other_is_better_than_in_everything() -> None:
    samples = [
        several(1, 0.9, 3.0, 10.0),
        several(2, 0.9, 2.0, 20.0),
        several(3, 0.9, 2.5, 25.0),  # worse than 2 in both
        several(4, 0.9, 1.0, 20.0),  # as good as 2 in one, better in the other
        several(5, 0.9, 1.0, 20.0),  # 4 again
    ]
    assert [s.number for s in front_of(samples, [False, False])] == [4, 1]
    assert [s.number for s in front_of(samples, [False, True])] == [4, 3]
    assert middle_of(front_of(samples, [False, False]), [4.0, 40.0], [False, False]) == 4


def test_of_trade_offs_those_that_keep_the_floor_count(tmp_path: Path) -> None:
    samples = [several(1, 0.93, 3.0, 10.0), several(2, 0.93, 1.0, 20.0), several(3, 0.8, 0.5, 1.0)]
    objectives = Objective("latency", False), Objective("bytes", False)
    sampling: Any = SimpleNamespace(
        objectives=objectives,
        maximized=[False, False],
        floor=FLOOR,
        judge_again=lambda number: Judgment(0.93, 0.005),
    )
    choice = choose(sampling, tuple(samples), [4.0, 40.0], lambda text: None)
    assert (choice.number, choice.kept, choice.front) == (2, True, (2, 1))
    search = SearchResult(
        "-1%", "latency", False, 0.9, 4.0, 0.89, tuple(samples), 2, True, choice.note,
        (ObjectiveResult("latency", False, 4.0), ObjectiveResult("bytes", False, 40.0)), (2, 1),
    )  # fmt: skip
    assert SearchResult.from_dict(json.loads(json.dumps(asdict(search)))) == search
    write_front(tmp_path, search, ".onnx")
    rows = json.loads((tmp_path / "front.json").read_text())
    assert [(r["sample"], r["latency"], r["bytes"], r["file"]) for r in rows] == [
        (2, 1.0, 20.0, "samples/2.onnx"),
        (1, 3.0, 10.0, "samples/1.onnx"),
    ]
    lines = (tmp_path / "front.csv").read_text().splitlines()
    assert lines[0].startswith("sample,metric,standard_error,latency_s,latency,bytes,file,progress")
    assert len(lines) == 3
