"""One limit, the figure that was measured, and how sure the answer is.

The figure is a trimmed mean over rounds with a standard error, so that its distance from a line
follows Student's distribution. Where neither side of the line reaches the confidence that is
wanted, the answer is that it is not decided.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from latprof.devices import Comparison, Sustained, degrees_of
from latprof.vocabulary import format_s

__all__ = ["LimitCheck", "check_latency", "check_slowdown", "check_steady"]

#: Of one side of the line, for a verdict that ends the measuring: with it an equal file is accused
#: in 2 of 100 runs at most, though the figures are looked at after each round. And where time is
#: over, which is one look.
_WANTED, _WANTED_LAST = 0.99, 0.95
#: A load that came and went a few times looks like a slower file in fewer rounds than these.
_LEAST_ROUNDS = 8
#: Latencies of one file, corrected for the measured slowdown, repeat between runs to this,
#: whatever the rounds of one run say.
_REPEATS_TO = 0.01


@dataclass(frozen=True)
class LimitCheck:
    """A limit and what was found of it.

    Args:
        name: ``max``, in seconds, or ``max_slowdown``, a share.
        verdict: ``ok``, ``regression`` or ``undecided``.
        limit: as it was asked for.
        line: where ``ok`` ends; for ``max_slowdown`` half the limit.
        measured, error: what was measured, and its standard error, in the unit of the limit.
        confidence: 0.5 to 1, of the side of the line that the figure lies on.
        rounds: processes that the figure is of.
        detail: why it is undecided; empty otherwise.
    """

    name: str
    verdict: str
    limit: float
    line: float
    measured: float
    error: float
    confidence: float
    rounds: int
    detail: str = ""

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)

    def __str__(self) -> str:
        """One line for people."""
        if self.name == "max":
            figures = f"{format_s(self.measured)} +- {format_s(self.error)}, limit "
            figures += format_s(self.limit)
        else:
            slower = "slower" if self.measured >= 0 else "faster"
            figures = f"{abs(self.measured):.1%} +- {self.error:.1%} {slower}, limit "
            figures += f"{self.limit:.1%} (line at {self.line:.1%})"
        ending = f"; {self.detail}" if self.detail else ""
        return f"{figures}: {self.verdict}, confidence {self.confidence:.1%}{ending}"


def check_latency(
    found: Comparison, index: int, limit_s: float, *, last: bool = False
) -> LimitCheck:
    """Whether the file at ``index`` takes at most ``limit_s``; at last with 95% confidence.

    Background load can only slow it: what is fast enough beside load is ``ok``, and what is too
    slow there is undecided.
    """
    measured = found.latencies_s[index]
    error = math.hypot(found.latency_errors[index], _REPEATS_TO) * measured
    verdict, confidence = _side(measured, limit_s, error, degrees_of(found.rounds), last=last)
    detail = ""
    if verdict == "regression" and found.beside_load:
        verdict, detail = "undecided", "too slow beside background load; it may be faster without"
    elif verdict == "undecided":
        detail = "too near to the limit for this noise"
    return LimitCheck(
        "max", verdict, limit_s, limit_s, measured, error, confidence, found.rounds, detail
    )


def check_steady(found: Sustained, limit_s: float) -> LimitCheck:
    """Whether the steady state takes at most ``limit_s``.

    What still grows slower is not known to stay within it.
    """
    measured = found.steady_s
    error = math.hypot(found.steady_error, _REPEATS_TO) * measured
    points = len(found.times_s)
    verdict, confidence = _side(measured, limit_s, error, points - 1)
    detail = "too near to the limit for this noise" if verdict == "undecided" else ""
    if verdict == "ok" and not found.settled:
        verdict, detail = "undecided", "it still grows slower; expected a longer time"
    elif verdict == "regression" and found.mostly_preempted:
        verdict, detail = "undecided", "too slow beside other tasks; it may be faster without"
    return LimitCheck("max", verdict, limit_s, limit_s, measured, error, confidence, points, detail)


def check_slowdown(
    found: Comparison, index: int, limit: float, *, last: bool = False
) -> LimitCheck:
    """Whether the file at ``index`` is slower than the first by as much as ``limit``; at last with
    95% confidence, and of any number of rounds.

    The line lies half way: a file slower by the limit is as far from it as an equal one.
    """
    measured, line = found.ratios[index] - 1, limit / 2
    error = found.ratio_errors[index] * found.ratios[index]
    rounds = found.ratio_rounds
    verdict, confidence = _side(measured, line, error, degrees_of(rounds), last=last)
    if rounds < _LEAST_ROUNDS and not last:
        verdict = "undecided"
    detail = "too near to the line for this noise" if verdict == "undecided" else ""
    return LimitCheck(
        "max_slowdown", verdict, limit, line, measured, error, confidence, rounds, detail
    )


def _side(
    measured: float, line: float, error: float, degrees: int, *, last: bool = False
) -> tuple[str, float]:
    """(verdict, confidence)."""
    from scipy import stats  # a third of a second that profiling does not need

    distance = (measured - line) / error if error else math.copysign(math.inf, measured - line)
    confidence = float(stats.t.cdf(abs(distance), degrees))
    if confidence < (_WANTED_LAST if last else _WANTED):
        return "undecided", confidence
    return ("regression" if distance > 0 else "ok"), confidence
