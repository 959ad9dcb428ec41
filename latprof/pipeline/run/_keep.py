"""What a search is to keep, and how it searches: ``keep``, ``objective``, ``[search]`` and
``[search.space]``."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from latprof.compress import Block, Depth, LowRank, Prune, Quantize, Sparse
from latprof.errors import UsageError
from latprof.vocabulary import check_number

__all__ = [
    "BLOCKS",
    "OBJECTIVES",
    "SEARCHERS",
    "Keep",
    "OneObjective",
    "SearchSettings",
    "SearchSpace",
    "lowest_budget",
]

#: What can be made best: by name, or (network, file) -> number.
OneObjective = str | Callable[..., Any]
#: Blocks by the names of their sections, with their defaults.
BLOCKS: dict[str, Block] = {
    "prune": Prune(),
    "depth": Depth(),
    "low_rank": LowRank(),
    "sparse": Sparse(),
    "quantize": Quantize(),
}

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
class SearchSpace:
    """What ``gp`` searches beside the way down; what is empty stays as the run has it.

    Args:
        lr: lowest and highest learning rate of fine-tuning.
        mask_share: shares of the epochs, of masks and fine-tuning together, that masks have.
        divisor: of channel counts and ranks.
        blocks: choices, each a list of names of sections.

    Raises:
        UsageError: a value that cannot be, by its name.
    """

    lr: tuple[float, ...] = ()
    mask_share: tuple[float, ...] = ()
    divisor: tuple[int, ...] = ()
    blocks: tuple[tuple[str, ...], ...] = ()

    def __post_init__(self) -> None:
        if self.lr:
            for value in self.lr:
                check_number("search.space.lr", value, above=0.0)
            if len(self.lr) != 2 or self.lr[0] >= self.lr[1]:
                raise UsageError(f"search.space.lr is {list(self.lr)}; expected [lowest, highest]")
        for share in self.mask_share:
            check_number("search.space.mask_share", share, above=0.0, below=1.0)
        for divisor in self.divisor:
            if type(divisor) is not int or divisor < 1:
                raise UsageError(
                    f"search.space.divisor has {divisor!r}; expected whole numbers >= 1"
                )
        for names in self.blocks:
            if not isinstance(names, tuple) or not names or not set(names) <= set(BLOCKS):
                raise UsageError(
                    f"search.space.blocks has {names!r}; expected lists of {', '.join(BLOCKS)}"
                )
        for name in ("mask_share", "divisor", "blocks"):
            values = getattr(self, name)
            if len(set(values)) < len(values):
                raise UsageError(f"search.space.{name} is {list(values)}; expected each value once")

    @classmethod
    def of(cls, given: Any) -> Self:
        """From a [search.space] section."""
        known = ("blocks", "divisor", "lr", "mask_share")
        if not isinstance(given, Mapping):
            raise UsageError(f"search.space is {given!r}; expected a [search.space] section")
        for key, value in given.items():
            if key not in known:
                raise UsageError(
                    f"unknown key search.space.{key}; expected one of {', '.join(known)}"
                )
            if not isinstance(value, list | tuple) or not value:
                raise UsageError(f"search.space.{key} is {value!r}; expected a list")
        values: dict[str, Any] = {
            key: tuple(tuple(v) if isinstance(v, list) else v for v in value)
            for key, value in given.items()
        }
        return cls(**values)

    @property
    def is_empty(self) -> bool:
        return not (self.lr or self.retrains)

    @property
    def retrains(self) -> bool:
        """Whether there is more than one mask phase."""
        return bool(self.mask_share or self.divisor or self.blocks)


@dataclass(frozen=True)
class SearchSettings:
    """How a search samples.

    Args:
        samples: networks that are fine-tuned, measured and judged.
        by: ``bracket``, ``dr-ucb`` or ``gp``; see ``latprof.pipeline.search``. Empty: ``gp`` with
            several objectives or a space, else ``bracket``.
        held_out: share of the training data that the networks are judged on; 0: half of the test
            data, of which the other half is only reported.
        maximize: an objective of one's own is better the larger it is.
        space: what is searched beside the way down.

    Raises:
        UsageError: a value that cannot be, by its name.
    """

    samples: int = 6
    by: str = ""
    held_out: float = 0.0
    maximize: bool = False
    space: SearchSpace = field(default_factory=SearchSpace)

    def __post_init__(self) -> None:
        if type(self.samples) is not int or self.samples < 1:
            raise UsageError(f"samples is {self.samples!r}; expected a whole number >= 1")
        if self.by and self.by not in SEARCHERS:
            raise UsageError(f"by is {self.by!r}; expected one of {', '.join(SEARCHERS)}")
        check_number("held_out", self.held_out, least=0.0, below=1.0)

    def searcher(self, objectives: int) -> str:
        """By which of SEARCHERS so many objectives are searched.

        Raises:
            UsageError: one that knows a single objective, or the way down alone.
        """
        several = "several objectives" if objectives > 1 else ""
        reason = several or ("" if self.space.is_empty else "[search.space]")
        if reason and self.by not in ("", "gp"):
            raise UsageError(f"by is {self.by!r} with {reason}; expected gp, or leave it out")
        return self.by or ("gp" if reason else "bracket")


def lowest_budget(objective: OneObjective | tuple[OneObjective, ...]) -> str:
    """What the masks are trained to, to pass all that may be the best of this objective.

    Raises:
        UsageError: no such objective.
    """
    if isinstance(objective, tuple):
        return ", ".join(dict.fromkeys(map(lowest_budget, objective)))
    if callable(objective) or ":" in objective:
        return "lowest"
    if objective not in OBJECTIVES:
        raise UsageError(
            f"objective is {objective!r}; expected one of {', '.join(OBJECTIVES)}, or "
            "module:function or file.py:function"
        )
    return OBJECTIVES[objective]
