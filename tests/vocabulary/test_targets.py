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
        ({"settings": (("graph", "basic"),)}, "graph=basic"),
    ],
)
def test_what_tells_one_target_from_another(change: dict[str, object], told: str) -> None:
    changed = replace(TARGET, **change)  # type: ignore[arg-type]
    assert changed.difference_from(TARGET) == told


def test_what_a_target_lacks_is_told() -> None:
    more = replace(TARGET, settings=(*TARGET.settings, ("bits", "4")))
    assert TARGET.difference_from(more) == "no bits"
    assert more.difference_from(TARGET) == "bits=4"
