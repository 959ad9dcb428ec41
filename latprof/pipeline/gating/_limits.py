"""Limits as people write them: ``5ms``, ``3%``. Budgets have more forms, and need torch."""

from __future__ import annotations

import re

from latprof.errors import UsageError

__all__ = ["read_latency", "read_share"]

_UNITS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}


def read_latency(text: str | float, name: str) -> float:
    """Seconds of ``5ms`` or ``5 ms``; a number that is no text is seconds.

    Args:
        name: of what is limited, for the message.

    Raises:
        UsageError: no latency above 0, or one without a unit.
    """
    if not isinstance(text, str):
        number, unit = float(text), "s"
    else:
        match = re.fullmatch(r"\s*(\d+\.?\d*|\.\d+)\s*([a-z]*)\s*", text)
        number, unit = (float(match[1]), match[2]) if match else (0.0, "")
    if not number > 0 or unit not in _UNITS:
        raise UsageError(f"{name} is {text!r}; expected a latency with its unit, like 5ms")
    return number * _UNITS[unit]


def read_share(text: str | float, name: str) -> float:
    """0.03 of ``3%`` or ``0.03``.

    Raises:
        UsageError: none above 0 and up to 100%.
    """
    match = re.fullmatch(r"\s*(\d+\.?\d*|\.\d+)\s*(%?)\s*", str(text))
    share = float(match[1]) * (0.01 if match[2] else 1.0) if match else 0.0
    if not 0 < share <= 1:
        raise UsageError(f"{name} is {text!r}; expected a share above 0 and up to 100%, like 3%")
    return share
