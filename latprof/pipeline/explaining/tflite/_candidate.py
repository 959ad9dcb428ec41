"""What may slow a .tflite file, before it is measured: some ops, and what to do about them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from latprof.pipeline.explaining.tflite._file import TfliteEdit

__all__ = ["TfliteCandidate"]


@dataclass(frozen=True)
class TfliteCandidate:
    """Ops that may be slow for a reason.

    Args:
        cause: ``transposes``, ``outside-delegate`` and so on.
        words: what is there, as a sentence without its end.
        ops: numbers of those concerned.
        advice: what to do, in the imperative.
        apply: changes a copy of the file; None where it cannot be tried, so that only what the ops
            take is known.
        keeps: whether the outputs stay the same, but for rounding.
    """

    cause: str
    words: str
    ops: tuple[int, ...]
    advice: str
    apply: Callable[[TfliteEdit], None] | None = None
    keeps: bool = True
