"""Latency slack and lost classes, against figures worked out by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from support.tables import TARGET

from latprof import RunResult
from latprof.compress.train import class_counts
from latprof.report import latency_slack, lost_classes_text, slack_text
from latprof.vocabulary import (
    ClassResult,
    NetworkResult,
    SampleResult,
    SearchResult,
    lost_classes,
)


def network(name: str, accuracy: float, latency_s: float) -> NetworkResult:
    return NetworkResult(name, accuracy, latency_s, latency_s, 10, 10, f"{name}.onnx")


RESULT = RunResult(
    TARGET,
    (
        network("original", 0.90, 10e-3),
        network("trail/1", 0.91, 8e-3),
        network("trail/2", 0.8955, 6e-3),
        network("compressed", 0.86, 4e-3),
    ),
    (),
)


def test_slack_is_the_least_time_within_each_relative_loss() -> None:
    assert latency_slack(RESULT) == pytest.approx({0.0: 0.8, 0.01: 0.6, 0.05: 0.4})
    assert slack_text(RESULT) == (
        "latency slack of accuracy: 80% of the time at 0% relative loss, 60% of the time at 1% "
        "relative loss, 40% of the time at 5% relative loss"
    )
    alone = replace(RESULT, networks=(RESULT.original, RESULT.compressed))
    assert slack_text(alone) == ""  # two points are no curve


def test_slack_of_a_metric_that_improves_downwards_and_of_a_search() -> None:
    errors = tuple(replace(n, accuracy=1 - n.accuracy) for n in RESULT.networks)
    downwards = replace(RESULT, networks=errors, metric="mse", higher_is_better=False)
    assert latency_slack(downwards) == pytest.approx({0.0: 0.8, 0.01: 0.8, 0.05: 0.6})
    sample = SampleResult(1, 0.5, 0.88, 0.01, None, 3e-3, 3e-3, True)
    search = SearchResult("-1%", "latency", False, 0.88, 10e-3, 0.87, (sample,), 1, True)
    assert latency_slack(replace(RESULT, search=search))[0.0] == pytest.approx(0.3)


def test_classes_that_lose_far_more_than_the_mean_are_named() -> None:
    classes = [ClassResult(label, 1000, 0.9, 0.895) for label in range(10)]
    assert lost_classes(classes) == []
    assert lost_classes([*classes[:9], ClassResult(9, 1000, 0.9, 0.6)])[0].label == 9
    by_chance = ClassResult(9, 10, 0.9, 0.8)  # one row of ten
    assert lost_classes([*classes[:9], by_chance]) == []
    warned = replace(RESULT, classes=(*classes[:9], ClassResult(9, 1000, 0.9, 0.6)))
    assert "9 (90.0% to 60.0%)" in lost_classes_text(warned)
    assert lost_classes_text(RESULT) == ""


def test_classes_come_back_from_a_file(tmp_path: Path) -> None:
    result = replace(RESULT, classes=(ClassResult(3, 7, 6 / 7, 5 / 7),))
    assert RunResult.load(result.save(tmp_path / "result.json")) == result


@pytest.mark.parametrize("rows", [1, 3, 7])
def test_class_counts_by_batches_are_those_of_the_whole(rows: int) -> None:
    generator = torch.Generator().manual_seed(rows)
    logits = torch.randn(50, 6, generator=generator)
    labels = torch.randint(0, 6, (50,), generator=generator)
    batches = list(zip(logits.split(rows), labels.split(rows), strict=True))
    counts, right = class_counts(torch.nn.Identity(), iter(batches))
    assert counts.tolist() == torch.bincount(labels).tolist()
    assert right.sum() == (logits.argmax(1) == labels).sum()
    of_three = (logits.argmax(1) == labels)[labels == 3].sum()
    assert right[3] == of_three
