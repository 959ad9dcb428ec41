"""What slows the file of a run, in words; pure data."""

from __future__ import annotations

import math
from dataclasses import dataclass

from latprof.errors import UsageError

__all__ = ["AdviceResult"]


@dataclass(frozen=True)
class AdviceResult:
    """One verdict of ``latprof why`` on the compressed file.

    Args:
        words: what is there, a sentence.
        advice: what to do, in the imperative.
        takes_s: what the ops concerned take inside the model, measured.
        saves_s: what the advice is predicted to save; None where nothing was tried.
        keeps_outputs: whether the file computes the same after it, but for rounding.
    """

    words: str
    advice: str
    takes_s: float
    saves_s: float | None
    keeps_outputs: bool

    def __post_init__(self) -> None:
        texts = isinstance(self.words, str) and isinstance(self.advice, str)
        numbers = (self.takes_s, self.saves_s or 0.0)
        if not texts or not all(math.isfinite(n) and n >= 0 for n in numbers):
            raise UsageError(f"advice is {self!r}; expected texts and finite seconds >= 0")
