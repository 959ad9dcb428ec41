"""Limits as people write them."""

from __future__ import annotations

import pytest

from latprof.errors import UsageError
from latprof.pipeline.gating import read_latency, read_share


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("5ms", 5e-3), ("5 ms", 5e-3), ("0.2s", 0.2), ("750us", 750e-6), ("9 ns", 9e-9), (0.5, 0.5)],
)
def test_a_latency_is_read(text: str | float, seconds: float) -> None:
    assert read_latency(text, "max") == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["5", "ms", "-5ms", "0ms", "5 minutes", "", 0.0, -1.0])
def test_what_is_no_latency_is_refused_in_one_line(text: str | float) -> None:
    with pytest.raises(UsageError, match=r"^max is .*; expected a latency .* like 5ms$"):
        read_latency(text, "max")


@pytest.mark.parametrize("text", ["3%", "3 %", "0.03", 0.03])
def test_a_share_is_read(text: str | float) -> None:
    assert read_share(text, "max_slowdown") == pytest.approx(0.03)


@pytest.mark.parametrize("text", ["", "0%", "-3%", "101%", "3 percent", 2])
def test_what_is_no_share_is_refused_in_one_line(text: str | float) -> None:
    with pytest.raises(UsageError, match=r"^max_slowdown is .*like 3%$"):
        read_share(text, "max_slowdown")
