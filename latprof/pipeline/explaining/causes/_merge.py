"""The same thing in several places is one candidate: it has one reason and one advice."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence

from latprof.pipeline.explaining.causes._candidate import Candidate
from latprof.pipeline.explaining.graph import Edit

__all__ = ["merge_candidates"]


def merge_candidates(candidates: Iterable[Candidate]) -> list[Candidate]:
    """Those of one cause, in the same words and with the same options, together."""
    alike: dict[tuple[object, ...], list[Candidate]] = defaultdict(list)
    for one in candidates:
        options = tuple((o.advice, o.keeps, o.empties) for o in one.options)
        alike[one.cause, one.words, options].append(one)
    return [_together(some) if len(some) > 1 else some[0] for some in alike.values()]


def _together(some: Sequence[Candidate]) -> Candidate:
    nodes = tuple(dict.fromkeys(name for one in some for name in one.nodes))
    options = tuple(
        dataclasses.replace(
            same[0],
            apply=_all([option.apply for option in same]),
            proportion=max(option.proportion for option in same),
        )
        for same in zip(*(one.options for one in some), strict=True)
    )
    words = f"{some[0].words}, in {len(some)} places"
    return Candidate(some[0].cause, words, nodes, options)


def _all(changes: Sequence[Callable[[Edit], None]]) -> Callable[[Edit], None]:
    def apply(edit: Edit) -> None:
        for change in changes:
            change(edit)

    return apply
