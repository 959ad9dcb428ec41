"""What a search for the best network that keeps its accuracy found. Pure data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from latprof.errors import UsageError

__all__ = ["ObjectiveResult", "SampleResult", "SearchResult"]


@dataclass(frozen=True)
class ObjectiveResult:
    """One of several objectives of a search.

    Args:
        name: as it was asked for.
        maximized: it is better the larger it is.
        original: the original's figure.
    """

    name: str
    maximized: bool
    original: float


@dataclass(frozen=True)
class SampleResult:
    """One network of a search: fine-tuned, exported, measured and judged.

    Args:
        number: from 1, in the order in which samples began.
        progress: share of the way from the original to the lowest that the masks reached.
        metric: on the held-out data.
        standard_error: of it.
        one_shot: the metric before fine-tuning; None where it was not taken.
        objective: in the unit of the search's ``objective``.
        latency_s: measured, seconds.
        passes: the metric less one standard error keeps the floor.
        objectives: figures of all objectives, where there are several.
        settings: what else it was taken with, by the names of ``[search.space]``; with several
            objectives ``progress_KIND``, its own share of the way to the lowest of that kind.
    """

    number: int
    progress: float
    metric: float
    standard_error: float
    one_shot: float | None
    objective: float
    latency_s: float
    passes: bool
    objectives: tuple[float, ...] = ()
    settings: Mapping[str, str | int | float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not (math.isfinite(self.metric) and math.isfinite(self.objective)):
            raise UsageError(
                f"sample {self.number}: metric {self.metric!r}, objective {self.objective!r}; "
                "expected finite numbers"
            )


@dataclass(frozen=True)
class SearchResult:
    """What was to be kept, every sample, and the one that was chosen.

    Args:
        keep: as it was asked for.
        objective: its name.
        maximized: it is better the larger it is.
        original: the original's metric on the held-out data.
        original_objective: of the original.
        floor: what a sample's metric is to keep, less one standard error.
        samples: in the order in which they began.
        chosen: number of the sample that ``compressed`` is.
        kept: it keeps the floor, judged again from its files.
        note: where nothing keeps it, what it would take; else how the choice was made.
        objectives: all of them, where there are several; ``objective`` is the first.
        front: numbers of the samples that keep the floor and that no other such is as good as in
            every objective and better in one; by the first objective. Empty with one objective.
    """

    keep: str
    objective: str
    maximized: bool
    original: float
    original_objective: float
    floor: float
    samples: tuple[SampleResult, ...]
    chosen: int
    kept: bool
    note: str = ""
    objectives: tuple[ObjectiveResult, ...] = ()
    front: tuple[int, ...] = ()

    def sample(self, number: int) -> SampleResult:
        """The sample of this number. Raises KeyError where there is none."""
        return {each.number: each for each in self.samples}[number]

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """From what ``dataclasses.asdict`` made."""
        samples = tuple(
            SampleResult(**{**each, "objectives": tuple(each.get("objectives", ()))})
            for each in data["samples"]
        )
        objectives = tuple(ObjectiveResult(**each) for each in data.get("objectives", ()))
        front = tuple(data.get("front", ()))
        return cls(**{**data, "samples": samples, "objectives": objectives, "front": front})
