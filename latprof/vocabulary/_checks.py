"""Checks of what users give."""

from __future__ import annotations

import math
from numbers import Real

from latprof.errors import UsageError

__all__ = ["check_number"]


def check_number(
    name: str,
    value: float,
    *,
    least: float = -math.inf,
    above: float = -math.inf,
    most: float = math.inf,
    below: float = math.inf,
) -> None:
    """Raises UsageError, by name, where ``value`` is no finite number within these limits."""
    number = isinstance(value, Real) and not isinstance(value, bool)
    if number and math.isfinite(value) and least <= value <= most and above < value < below:
        return
    limits = [
        f"{word} {limit:g}"
        for word, limit in (
            ("of at least", least),
            ("above", above),
            ("of at most", most),
            ("below", below),
        )
        if math.isfinite(limit)
    ]
    raise UsageError(f"{name} is {value!r}; expected a number {' and '.join(limits)}")
