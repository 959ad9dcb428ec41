"""Targets in words."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.tables import TARGET


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({}, ""),
        ({"device": "Pixel 6"}, "Pixel 6"),
        ({"runtime": "tflite", "threads": 2}, "tflite, 2 thread(s)"),
        ({"settings": (("bits", "4"),)}, "bits=4"),
    ],
)
def test_what_tells_one_target_from_another(change: dict[str, object], told: str) -> None:
    assert replace(TARGET, **change).beside(TARGET) == told  # type: ignore[arg-type]
