"""A result in words, for the terminal and the page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from latprof.vocabulary import format_s

if TYPE_CHECKING:
    from latprof.pipeline.explaining._result import OpShare, WhyResult
    from latprof.pipeline.explaining._verdict import Verdict

__all__ = ["ending", "label", "lines_of", "summary"]

_MOST_NAMES = 3
#: Of the whole; what goes between ops and is below it is not measurable.
_LEAST_REST = 0.0005


def summary(result: WhyResult) -> str:
    """The whole, the sum of its ops, and the rest by its name."""
    rest_s, share = result.between_s, result.between_s / result.latency_s
    between = f"{format_s(rest_s)} ({share:.1%})" if share >= _LEAST_REST else "nothing measurable"
    text = (
        f"{format_s(result.latency_s)} a call; {len(result.ops)} ops take "
        f"{format_s(result.ops_s)}, and {between} goes between them"
    )
    if result.profiler_s:
        text += f"; {format_s(result.profiler_s)} of the profiler's own are taken off"
    return text


def label(op: OpShare) -> str:
    """What it is of the file: the value that it makes."""
    return op.nodes[-1] if op.nodes else "(added by the runtime)"


def ending(verdict: Verdict) -> str:
    """Where it is, as the end of a sentence."""
    names = verdict.nodes
    if not names:
        return "."
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return f": {', '.join(names[:_MOST_NAMES])}{more}."


def lines_of(verdict: Verdict) -> list[str]:
    """Advice and figures, one line each."""
    kept = "" if verdict.keeps_outputs else "; its outputs change, so check the accuracy"
    lines = [f"try: {verdict.advice}{kept}", verdict.measured]
    if verdict.saves_s is None:
        return [*lines, "observed only: what it would save was not measured"]
    if verdict.predicted:
        lines.append(verdict.predicted)
    if verdict.checked is None:
        return [*lines, "not checked on the whole file: --check measures it"]
    found = verdict.checked
    does = "saves" if found.saves_s >= 0 else "costs"
    where = "checked" if verdict.predicted else "whole file"
    saved_s = format_s(abs(found.saves_s))
    text = f"{where}: {does} {saved_s} +- {format_s(found.error_s)}"
    if found.max_rel_error is not None:
        text += f"; outputs differ by {found.max_rel_error:.1e}"
    return [*lines, text]
