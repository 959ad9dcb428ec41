"""The samples of a search that are trade-offs between its objectives."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence
from pathlib import Path

from latprof.vocabulary import SampleResult, SearchResult, replace_file

__all__ = ["front_of", "middle_of", "write_front"]


def front_of(samples: Sequence[SampleResult], maximized: Sequence[bool]) -> list[SampleResult]:
    """Those that no other is as good as in every objective and better in one, by the first.

    Args:
        maximized: for each objective, whether it is better the larger it is.
    """
    losses = {s.number: _losses(s, maximized) for s in samples}

    def beaten(one: tuple[float, ...], number: int) -> bool:
        return any(
            (other != one and all(a <= b for a, b in zip(other, one, strict=True)))
            or (other == one and earlier < number)
            for earlier, other in losses.items()
        )

    left = [s for s in samples if not beaten(losses[s.number], s.number)]
    return sorted(left, key=lambda s: losses[s.number])


def middle_of(
    front: Sequence[SampleResult], originals: Sequence[float], maximized: Sequence[bool]
) -> int:
    """Number of the sample whose objectives are best together: by the product of their shares of
    the original's."""

    def product(sample: SampleResult) -> float:
        shares = (
            math.log(abs(value) / abs(original)) * (-1 if larger else 1)
            for value, original, larger in zip(sample.objectives, originals, maximized, strict=True)
            if value and original
        )
        return sum(shares)

    return min(front, key=product).number


def write_front(folder: Path, search: SearchResult, suffix: str) -> None:
    """``front.csv`` and ``front.json``: the trade-offs with their figures and files.

    Args:
        suffix: of the files.
    """
    rows = []
    for number in search.front:
        s = search.sample(number)
        figures = {o.name: v for o, v in zip(search.objectives, s.objectives, strict=True)}
        row = {"sample": number, "metric": s.metric, "standard_error": s.standard_error}
        row |= {"latency_s": s.latency_s} | figures
        rows.append(
            {**row, "file": f"samples/{number}{suffix}", "progress": s.progress} | dict(s.settings)
        )
    replace_file(folder / "front.json", (json.dumps(rows, indent=1) + "\n").encode())
    text = io.StringIO()
    names = list(dict.fromkeys(name for row in rows for name in row))
    table = csv.DictWriter(text, names or ["sample"], lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    replace_file(folder / "front.csv", text.getvalue().encode())


def _losses(sample: SampleResult, maximized: Sequence[bool]) -> tuple[float, ...]:
    """Figures that are better the lower they are."""
    pairs = zip(sample.objectives, maximized, strict=True)
    return tuple(-value if larger else value for value, larger in pairs)
