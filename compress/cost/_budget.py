"""Budgets as people write them: ``5 ms``, ``500/s``, ``60%``, ``macs=50%``, ``params=1.2M``,
``bytes=4MB``, ``memory=20MB``, ``prefill(512)=300 ms``, ``decode(512)=25 token/s``, ``lowest``."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from functools import partial
from typing import Self

from latprof.errors import InfeasibleBudgetError, UsageError
from latprof.vocabulary import format_figure

__all__ = ["Budget", "FeasibleRange", "OfTokens"]

_LATENCY = {"": 1.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
_COUNT = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9}
_BYTES = {"": 1.0, "B": 1.0, "kB": 1e3, "MB": 1e6, "GB": 1e9}
_BYTES |= {"KiB": 2.0**10, "MiB": 2.0**20, "GiB": 2.0**30}
#: Units of a throughput: inputs per second, and tokens per second.
_RATE = {"/s": 1.0, "k/s": 1e3, "M/s": 1e6}
_TOKENS = ("token/s", "tokens/s")
#: What a budget may be of besides a latency: name -> units.
_UNITS = {"macs": _COUNT, "params": _COUNT, "bytes": _BYTES, "memory": _BYTES}
#: The budget that is nearly as low as the blocks reach: at the least itself nothing of a network is
#: left to train.
_LOWEST = "lowest"
#: Its share of the way from there to the original, and that of what can fall a hundredfold.
_SHARE, _SHARE_OF_FAR = 0.1, 0.01
_FAR = ("macs", "params", "bytes")


@dataclass(frozen=True)
class FeasibleRange:
    """What a model can be brought to, in the unit of its cost.

    Args:
        least: every group at its minimum.
        original: every group at its full size.
    """

    least: float
    original: float


@dataclass(frozen=True)
class OfTokens:
    """A latency of a model that takes tokens: ``prefill(N)``, of N at once; ``decode(N)`` or
    ``decode``, of one, where with it N are there.

    Args:
        decodes: whether it is of one token.
        tokens: N; None where it does not say.
    """

    decodes: bool
    tokens: int | None

    @classmethod
    def parse(cls, kind: str) -> Self | None:
        """From the kind of a budget; None where it is of another kind."""
        match = re.fullmatch(r"prefill\(([1-9]\d*)\)|decode(?:\(([1-9]\d*)\))?", kind)
        if match is None:
            return None
        number = match[1] or match[2]
        return cls(match[1] is None, int(number) if number else None)


@dataclass(frozen=True)
class Budget:
    """What to stay under: an absolute figure, or a fraction of the original's.

    Args:
        kind: ``macs``, ``params``, ``bytes``, ``memory``, or a latency's name.
        value: seconds, MACs, parameters or bytes; None where ``fraction`` or ``rate`` is given, or
            for ``lowest``, which depends on what can be reached.
        rate: inputs per second, of a throughput; see ``at_batch``.
    """

    text: str
    kind: str = "latency"
    value: float | None = None
    fraction: float | None = None
    rate: float | None = None

    @classmethod
    def parse(cls, text: str | float) -> Self:
        """From ``5 ms``, ``500/s``, ``60%``, ``lowest`` or ``KIND=...``; a number is seconds.

        Raises:
            UsageError: none of these, or a latency without its unit.
        """
        kind, _, rest = str(text).rpartition("=")
        kind = kind.strip() or "latency"
        if rest.strip() == _LOWEST:
            return cls(str(text), kind)
        units = _UNITS.get(kind, _LATENCY)
        if units is _LATENCY:
            units = {**units, **_rates(kind)}
        match = re.fullmatch(r"\s*([0-9.]+(?:e-?\d+)?)\s*(%|[a-zA-Z]*(?:/s)?)\s*", rest)
        try:
            number = float(match[1]) if match else 0.0
        except ValueError:
            number = 0.0
        if match is None or number <= 0 or (match[2] != "%" and match[2] not in units):
            raise UsageError(
                f"budget is {text!r}; expected a latency like '5 ms' or '500/s', a share like "
                "'60%', or one of macs, params, bytes or memory like 'macs=50%', 'params=1.2M', "
                "'bytes=4MB', 'memory=20MB'"
            )
        if match[2] in _rates(kind):
            return cls(str(text), kind, rate=number * _rates(kind)[match[2]])
        if isinstance(text, str) and kind not in _UNITS and not match[2]:
            name = "" if kind == "latency" else f"{kind}="
            raise UsageError(
                f"budget is {text!r} without a unit; {match[1]} s or {match[1]}%? expected "
                f"'{name}{match[1]} s', '{name}{match[1]} ms' or '{name}{match[1]}%'"
            )
        if match[2] == "%":
            return cls(str(text), kind, fraction=number / 100)
        return cls(str(text), kind, value=number * units[match[2]])

    @property
    def is_lowest(self) -> bool:
        """Whether it follows from what can be reached, not from the original."""
        return self.value is None and self.fraction is None and self.rate is None

    @property
    def goes_far(self) -> bool:
        """Whether it is the lowest of what can fall a hundredfold, which a latency cannot."""
        return self.is_lowest and self.kind in _FAR

    @property
    def of_tokens(self) -> OfTokens | None:
        """What it asks of a model that takes tokens; None of other kinds."""
        return OfTokens.parse(self.kind)

    def at_batch(self, rows: int) -> Self:
        """A throughput as what one call of so many inputs may take; others are as they were."""
        return self if self.rate is None else replace(self, value=rows / self.rate)

    def limit(self, original: float) -> float:
        """The figure to stay under where the original's is ``original``: a share follows it."""
        return self.value if self.value is not None else (self.fraction or 0.0) * original

    def resolve(self, feasible: FeasibleRange) -> float:
        """The figure to stay under.

        Raises:
            InfeasibleBudgetError: not below the original, or below what any width reaches.
        """
        if self.is_lowest:
            share = _SHARE_OF_FAR if self.goes_far else _SHARE
            return feasible.least + share * (feasible.original - feasible.least)
        limit, figure = self.limit(feasible.original), partial(format_figure, self.kind)
        reachable = (
            f"reachable: {figure(feasible.least)} to {figure(feasible.original)} "
            f"({_rounded_up(feasible.least / feasible.original)} to 100%)"
        )
        if limit >= feasible.original:
            raise InfeasibleBudgetError(
                f"budget {self.text} is {figure(limit)}, and the original already takes "
                f"{figure(feasible.original)}; {reachable}"
            )
        if limit < feasible.least:
            raise InfeasibleBudgetError(
                f"budget {self.text} is {figure(limit)}, less than the least that these blocks "
                f"reach; {reachable}"
            )
        return limit


def _rounded_up(share: float) -> str:
    """In tenths of a percent, so that it can be asked for, floats' own rounding included."""
    return f"{math.ceil(1000 * share + 1e-6) / 10:g}%"


def _rates(kind: str) -> dict[str, float]:
    """Units of a throughput of this kind, in calls per second of one input."""
    asked = OfTokens.parse(kind)
    if asked is None:
        return _RATE
    at_once = 1 if asked.decodes else asked.tokens or 1
    return _RATE | dict.fromkeys(_TOKENS, 1 / at_once)
