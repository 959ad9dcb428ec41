"""Verdicts, from figures with known errors."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from latprof.devices import Comparison
from latprof.pipeline.gating import check_latency, check_slowdown


def found(latency_s: float = 5e-3, ratio: float = 1.0, error: float = 0.004) -> Comparison:
    return Comparison(
        ratios=(1.0, ratio),
        ratio_errors=(0.0, error),
        latencies_s=(5e-3, latency_s),
        latency_errors=(error, error),
        rounds=20,
        ratio_rounds=20,
        beside_load=False,
        taken=20,
    )


@pytest.mark.parametrize(
    ("latency_s", "verdict"),
    [(4.8e-3, "ok"), (4.98e-3, "undecided"), (5.05e-3, "undecided"), (5.3e-3, "regression")],
)
def test_a_latency_is_judged_by_its_distance_from_the_limit(latency_s: float, verdict: str) -> None:
    check = check_latency(found(latency_s), 1, 5e-3)
    assert check.verdict == verdict
    assert (check.confidence >= 0.99) == (verdict != "undecided")
    assert bool(check.detail) == (verdict == "undecided")


def test_background_load_excuses_and_never_accuses() -> None:
    beside = replace(found(5.5e-3), beside_load=True)
    assert check_latency(beside, 1, 5e-3).verdict == "undecided"
    assert "without" in check_latency(beside, 1, 5e-3).detail
    assert check_latency(beside, 1, 6e-3).verdict == "ok"


@pytest.mark.parametrize(
    ("ratio", "verdict"),
    [(0.8, "ok"), (1.0, "ok"), (1.012, "undecided"), (1.03, "regression"), (1.5, "regression")],
)
def test_the_line_is_half_way_to_the_slowdown(ratio: float, verdict: str) -> None:
    check = check_slowdown(found(ratio=ratio), 1, 0.03)
    assert (check.verdict, check.line) == (verdict, 0.015)


def test_noise_is_undecided_and_not_a_guess() -> None:
    for ratio in np.linspace(0.97, 1.06, 10):
        assert check_slowdown(found(ratio=ratio, error=0.03), 1, 0.03).verdict == "undecided"


def test_when_time_is_over_less_confidence_and_fewer_rounds_suffice() -> None:
    near = found(ratio=1.0235)
    assert [check_slowdown(near, 1, 0.03, last=last).verdict for last in (False, True)] == [
        "undecided", "regression"
    ]  # fmt: skip
    few = replace(found(ratio=1.06), ratio_rounds=7)
    assert check_slowdown(few, 1, 0.03).verdict == "undecided"
    assert check_slowdown(few, 1, 0.03, last=True).verdict == "regression"
    assert check_latency(found(4.9e-3), 1, 5e-3).verdict == "undecided"
    assert check_latency(found(4.9e-3), 1, 5e-3, last=True).verdict == "ok"


def test_without_any_error_the_answer_is_sure() -> None:
    check = check_slowdown(found(ratio=1.03, error=0.0), 1, 0.03)
    assert (check.verdict, check.confidence) == ("regression", 1.0)


@pytest.mark.parametrize(("true", "wrong"), [(1.0, "regression"), (1.03, "ok")])
def test_looking_after_each_round_accuses_few(true: float, wrong: str) -> None:
    """1,000 runs of 60 rounds with 2.5% noise each, looked at from the fifth round on."""
    random = np.random.default_rng(0)
    mistakes = undecided = 0
    for _ in range(1000):
        ratios = true * np.exp(random.normal(0, 0.025, 60))
        verdict = "undecided"
        for count in range(5, 61):
            error = float(np.std(ratios[:count], ddof=1)) / count**0.5
            mean = float(ratios[:count].mean())
            now = replace(found(ratio=mean, error=error / mean), ratio_rounds=count)
            verdict = check_slowdown(now, 1, 0.03, last=count == 60).verdict
            if verdict != "undecided":
                break
        mistakes += verdict == wrong
        undecided += verdict == "undecided"
    assert mistakes <= 20
    assert undecided <= 50
