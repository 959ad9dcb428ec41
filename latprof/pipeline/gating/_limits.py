"""Limits as people write them: ``5ms``, ``3%``. Budgets have more forms, and need torch."""

from __future__ import annotations

import re
from collections.abc import Mapping

from latprof.errors import UsageError

__all__ = ["read_bytes", "read_duration", "read_latency", "read_share"]

_UNITS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
_DURATIONS = {"s": 1.0, "min": 60.0, "h": 3600.0}
_BYTES = {"": 1, "B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9}
_BYTES |= {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30}


def read_bytes(text: str | float, name: str) -> float:
    """Bytes of ``4MB``, ``4 MiB`` or ``4000000``.

    Args:
        name: of what is limited, for the message.

    Raises:
        UsageError: no size above 0, or of another unit.
    """
    match = re.fullmatch(r"\s*(\d+\.?\d*|\.\d+)\s*([a-zA-Z]*)\s*", str(text))
    number, unit = (float(match[1]), match[2]) if match else (0.0, "")
    if not number > 0 or unit not in _BYTES:
        raise UsageError(f"{name} is {text!r}; expected a size like 4MB, 500kB or 4000000")
    return number * _BYTES[unit]


def read_latency(text: str | float, name: str) -> float:
    """Seconds of ``5ms`` or ``5 ms``; a number that is no text is seconds.

    Args:
        name: of what is limited, for the message.

    Raises:
        UsageError: no latency above 0, or one without a unit.
    """
    return _seconds(text, name, _UNITS, "a latency with its unit, like 5ms")


def read_duration(text: str | float, name: str) -> float:
    """Seconds of ``10min``, ``90 s`` or ``1h``; a number that is no text is seconds.

    Args:
        name: of what takes so long, for the message.

    Raises:
        UsageError: no time above 0, or one without a unit.
    """
    return _seconds(text, name, _DURATIONS, "a time with its unit, like 10min or 90s")


def _seconds(text: str | float, name: str, units: Mapping[str, float], expected: str) -> float:
    if not isinstance(text, str):
        number, unit = float(text), "s"
    else:
        match = re.fullmatch(r"\s*(\d+\.?\d*|\.\d+)\s*([a-z]*)\s*", text)
        number, unit = (float(match[1]), match[2]) if match else (0.0, "")
    if not number > 0 or unit not in units:
        raise UsageError(f"{name} is {text!r}; expected {expected}")
    return number * units[unit]


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
