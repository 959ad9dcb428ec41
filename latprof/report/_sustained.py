"""Latency over time, in lines for people and as Markdown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from latprof.vocabulary import format_duration, format_s

if TYPE_CHECKING:
    from latprof.devices import Sustained

__all__ = ["sustained_lines", "sustained_markdown"]

#: Rows of the series that are shown.
_ROWS = 10


def sustained_lines(found: Sustained) -> list[str]:
    """What was kept up, when it throttled, what else is to be known, and the series."""
    return [*_sentences(found), *(f"  {at:>12}  {latency:>8}  {share}" for at, latency, share in
                                  _series(found))]  # fmt: skip


def sustained_markdown(found: Sustained) -> str:
    """The same: sentences as a list, and the series as a table."""
    return "\n".join([
        *(f"- {line}" for line in _sentences(found)),
        "",
        f"| after | latency | of the first {format_duration(found.first_for_s)} |",
        "|---|---|---|",
        *(f"| {' | '.join(row)} |" for row in _series(found)),
        "",
    ])  # fmt: skip


def _sentences(found: Sustained) -> list[str]:
    lines = [
        f"sustained: {format_s(found.steady_s)} +- {found.steady_error:.1%} in the last quarter of "
        f"{format_duration(found.seconds)}, {found.slowdown:.2f} times the "
        f"{format_s(found.first_s)} of the first {format_duration(found.first_for_s)}"
    ]
    if found.mostly_preempted:
        lines.append("throttling: not seen, most readings were taken beside other tasks")
    elif found.onset_s is None:
        lines.append("throttling: none")
    else:
        lines.append(f"throttling: from {format_duration(found.onset_s)} on")
    if not found.settled:
        lines.append("the last quarter still grows slower; a longer time tells where it ends")
    if found.preempted:
        lines.append(
            f"{found.preempted:,} of {found.readings:,} readings were taken beside other tasks"
        )
    if found.is_interrupted:
        lines.append("it was ended early")
    return lines


def _series(found: Sustained) -> list[tuple[str, str, str]]:
    count = len(found.times_s)
    rows = sorted({round(i * (count - 1) / (_ROWS - 1)) for i in range(_ROWS)})
    return [
        (
            format_duration(found.times_s[i]),
            format_s(found.latencies_s[i]),
            f"{found.latencies_s[i] / found.first_s:.2f}x",
        )
        for i in rows
    ]
