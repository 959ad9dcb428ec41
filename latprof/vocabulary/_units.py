"""Text for people: seconds, counts and ratios. Inside, latprof keeps seconds and bytes."""

from __future__ import annotations

import math

__all__ = [
    "format_count",
    "format_duration",
    "format_figure",
    "format_j",
    "format_rate",
    "format_s",
]

_NOUNS = {"macs": " MACs", "params": " parameters", "bytes": "B", "memory": "B"}


def format_s(seconds: float) -> str:
    """Three significant figures in the unit that fits: ``412 ns``, ``16.5 us``, ``4.10 ms``."""
    if not math.isfinite(seconds):
        return "-"
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if abs(seconds) >= scale:
            return f"{_three(seconds / scale)} {unit}"
    return f"{_three(seconds / 1e-9)} ns"


def format_j(joules: float) -> str:
    """Three significant figures in the unit that fits: ``412 nJ``, ``16.5 mJ``, ``4.10 J``."""
    for unit, scale in (("J", 1.0), ("mJ", 1e-3), ("uJ", 1e-6)):
        if abs(joules) >= scale:
            return f"{_three(joules / scale)} {unit}"
    return f"{_three(joules / 1e-9)} nJ"


def format_duration(seconds: float) -> str:
    """How long something takes, for people: ``42 s``, ``3 min 10 s``, ``1 h 5 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def format_count(count: float) -> str:
    """Three significant figures with the field's suffixes: ``942``, ``1.52 M``, ``56.5 G``."""
    for suffix, scale in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if abs(count) >= scale:
            return f"{_three(count / scale)} {suffix}"
    return f"{count:.0f}"


def format_rate(per_s: float) -> str:
    """A count per second, in whole numbers with separators where it is above 100: ``13,010``."""
    return f"{per_s:,.0f}" if per_s >= 100 else _three(per_s)


def format_figure(kind: str, value: float) -> str:
    """A budget's figure: of macs, params, bytes or memory; of any other kind, seconds."""
    return f"{format_count(value)}{_NOUNS[kind]}" if kind in _NOUNS else format_s(value)


def _three(value: float) -> str:
    digits = 2 if abs(value) < 10 else 1 if abs(value) < 100 else 0
    return f"{value:.{digits}f}"
