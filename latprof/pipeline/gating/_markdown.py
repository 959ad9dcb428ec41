"""A gate's result as Markdown, for a pull request or a job's summary."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from latprof.pipeline.gating._check import LimitCheck
from latprof.vocabulary import format_s

if TYPE_CHECKING:
    from latprof.pipeline.gating._gate import GateResult

__all__ = ["markdown_of"]

_TITLES = {"ok": "fast enough", "regression": "too slow", "undecided": "not decided"}


def markdown_of(result: GateResult) -> str:
    """A heading, a table with one row per limit, and what was measured on."""
    found = result.comparison
    load = ", some beside background load" if found.beside_load else ""
    lines = [
        f"### {_plain(Path(result.file).name)}: {_TITLES[result.verdict]}",
        "",
        "| limit | measured | verdict | confidence |",
        "|---|---|---|---|",
        *(_row(check, result) for check in result.checks),
        "",
        f"{found.rounds} rounds of fresh processes{load}, on {_plain(str(result.target))}.",
    ]
    details = [f"- {check.detail}" for check in result.checks if check.detail]
    return "\n".join([*lines, *([""] if details else []), *details]) + "\n"


def _row(check: LimitCheck, result: GateResult) -> str:
    if check.name == "max":
        limit = f"at most {format_s(check.limit)}"
        measured = f"{format_s(check.measured)} +- {format_s(check.error)}"
    else:
        old = _plain(Path(result.against).name)
        limit = f"not {check.limit:.1%} slower than {old}"
        measured = f"{check.measured:+z.1%} +- {check.error:.1%}"
    return f"| {limit} | {measured} | **{check.verdict}** | {check.confidence:.1%} |"


def _plain(text: str) -> str:
    """Without what Markdown would take for its own."""
    for mark in "\\`*_{}[]<>#|":
        text = text.replace(mark, f"\\{mark}")
    return text
