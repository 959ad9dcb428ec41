"""What a search is to keep, and how it searches: ``keep``, ``objective`` and ``[search]``."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

from latprof.errors import UsageError
from latprof.vocabulary import check_number

__all__ = ["OBJECTIVES", "SEARCHERS", "Keep", "SearchSettings", "lowest_budget"]

#: What can be as low or high as possible, by name; each with what the masks are trained to lower.
OBJECTIVES = {
    "latency": "lowest",
    "throughput": "lowest",
    "bytes": "bytes=lowest",
    "params": "params=lowest",
    "macs": "macs=lowest",
}
SEARCHERS = ("bracket", "dr-ucb", "gp")


@dataclass(frozen=True)
class Keep:
    """The least that a metric may be, or the most, where lower is better.

    Args:
        text: as it was asked for.
        value: the metric's figure, a share where it was a percentage.
        loss: how much may be lost of the original's figure: of an accuracy in points as a share,
            of others as a share of it; None where ``value`` is given.
    """

    text: str
    value: float | None = None
    loss: float | None = None

    @classmethod
    def parse(cls, text: str | float) -> Self:
        """From ``-1%``, ``91%``, or a metric's figure.

        Raises:
            UsageError: none of these.
        """
        match = re.fullmatch(r"\s*([+-]?[0-9.]+(?:e-?\d+)?)\s*(%?)\s*", str(text))
        try:
            number = float(match[1]) if match else None
        except ValueError:
            number = None
        if match is None or number is None or isinstance(text, bool):
            raise UsageError(
                f"keep is {text!r}; expected what may be lost like '-1%', or a figure of the "
                "metric like '91%' or '0.35'"
            )
        if not match[2]:
            return cls(str(text), value=number)
        if match[1].startswith(("+", "-")):
            return cls(str(text), loss=-number / 100)
        return cls(str(text), value=number / 100)

    def floor(self, original: float, metric: str, higher_is_better: bool) -> float:
        """The least figure that keeps it, or the largest, where lower is better."""
        if self.value is not None:
            return self.value
        assert self.loss is not None
        scale = 1.0 if metric == "accuracy" else abs(original)
        return original - self.loss * scale if higher_is_better else original + self.loss * scale


@dataclass(frozen=True)
class SearchSettings:
    """How a search samples.

    Args:
        samples: networks that are fine-tuned, measured and judged.
        by: ``bracket``, ``dr-ucb`` or ``gp``; see ``latprof.pipeline.search``.
        held_out: share of the training data that the networks are judged on; 0: half of the test
            data, of which the other half is only reported.
        maximize: an objective of one's own is better the larger it is.

    Raises:
        UsageError: a value that cannot be, by its name.
    """

    samples: int = 6
    by: str = "bracket"
    held_out: float = 0.0
    maximize: bool = False

    def __post_init__(self) -> None:
        if type(self.samples) is not int or self.samples < 1:
            raise UsageError(f"samples is {self.samples!r}; expected a whole number >= 1")
        if self.by not in SEARCHERS:
            raise UsageError(f"by is {self.by!r}; expected one of {', '.join(SEARCHERS)}")
        check_number("held_out", self.held_out, least=0.0, below=1.0)


def lowest_budget(objective: str | Callable[..., Any]) -> str:
    """What the masks are trained to, to pass all that may be the best of this objective.

    Raises:
        UsageError: no such objective.
    """
    if callable(objective) or ":" in objective:
        return "lowest"
    if objective not in OBJECTIVES:
        raise UsageError(
            f"objective is {objective!r}; expected one of {', '.join(OBJECTIVES)}, or "
            "module:function or file.py:function"
        )
    return OBJECTIVES[objective]
