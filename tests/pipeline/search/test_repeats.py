"""A sample whose widths another has: moved to new ones, or taken over with its files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any

import pytest

from latprof.pipeline.search._sample import Sampling
from latprof.vocabulary import SampleResult


class Stairs:
    """Widths that change each tenth of the way."""

    def __init__(self) -> None:
        self.progress = 0.0
        self.goals = SimpleNamespace(each=[None])

    def take(self, ways: list[float]) -> None:
        (self.progress,) = ways

    def counts(self) -> list[int]:
        return [100 - int(self.progress * 10 + 1e-9)]


class Claimed:
    """A claim, as a study keeps it."""

    number = 5
    settings: Mapping[str, Any] = MappingProxyType({})

    def __init__(self, progress: float) -> None:
        self.progress, self.moved = progress, None

    def move(self, progress: float) -> None:
        self.moved: float | None = progress


def known(*places: tuple[float, bool]) -> list[SampleResult]:
    return [
        SampleResult(n, p, 0.9, 0.01, None, 1.0, 1.0, passes)
        for n, (p, passes) in enumerate(places, 1)
    ]


def placed(claim: Claimed, samples: list[SampleResult], folder: Path = Path()) -> Any:
    stairs, lines = Stairs(), list[str]()
    of = {s.number: [100 - int(s.progress * 10 + 1e-9)] for s in samples}

    class Loaded(Sampling):
        def load(self, number: int) -> Any:
            return None, of[number]

    training: Any = SimpleNamespace(folder=folder)
    other: Any = None
    sampling = Loaded(training, *(other,) * 4, 1.0)
    phase: Any = SimpleNamespace(comp=stairs, levels=stairs)
    asked: Any = claim
    progress, same = sampling._place(asked, phase, samples, lines.append)
    assert stairs.progress == progress or same is not None
    return progress, same and same.number, lines, sampling


def test_new_widths_stay_where_they_are() -> None:
    assert placed(Claimed(0.55), known((0.45, True)))[:3] == (0.55, None, [])


def test_beside_one_that_passes_it_goes_deeper_and_beside_another_less_deep() -> None:
    claim = Claimed(0.45)
    progress, same, lines, _ = placed(claim, known((0.42, True)))
    assert (progress, same) == (pytest.approx(0.5), None)
    assert claim.moved == progress
    assert lines == ["sample 5: its widths would be those of sample 1; moved to 50.0%"]
    assert placed(Claimed(0.45), known((0.42, False)))[0] == pytest.approx(0.395)


def test_a_move_holds_after_a_kill() -> None:
    claim = Claimed(0.45)
    claim.move(0.5)
    assert placed(claim, known((0.42, True), (0.51, True)))[0] == 0.5


def test_where_nothing_lies_between_two_samples_nothing_is_trained_again(tmp_path: Path) -> None:
    samples = known((0.42, True), (0.55, False))
    progress, same, lines, sampling = placed(Claimed(0.48), samples, tmp_path)
    assert (progress, same) == (0.48, 1)
    assert "those of sample 1, and there are no others near it" in lines[0]
    (tmp_path / "samples").mkdir()
    for name in ("1.json", "1.onnx", "1.check.npz", "11.onnx"):
        (tmp_path / "samples" / name).write_text(name)
    again = sampling._repeated(Claimed(0.48), samples[0])
    assert (again.number, again.progress, again.metric) == (5, 0.48, 0.9)
    copies = {p.name: p.read_text() for p in (tmp_path / "samples").glob("5.*")}
    assert copies == {"5.json": "1.json", "5.onnx": "1.onnx", "5.check.npz": "1.check.npz"}


def test_at_the_end_of_the_way_nothing_is_deeper() -> None:
    assert placed(Claimed(1.0), known((0.999, True), (1.0, True)))[1] == 2
