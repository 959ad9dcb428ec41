"""What slows a file, with figures: measured, predicted and, where it was tried, checked."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from latprof.vocabulary import format_s

__all__ = ["LEAST_SHARE", "Verdict", "VerdictCheck"]

#: Of the whole, for a verdict.
LEAST_SHARE = 0.01


@dataclass(frozen=True)
class VerdictCheck:
    """The advice, applied to a copy of the file and measured against it in turns.

    Args:
        saves_s: measured; below 0 where it costs.
        error_s: standard error of it.
        max_rel_error: of the outputs of the changed file; None where they are to differ, or were
            not compared.
    """

    saves_s: float
    error_s: float
    max_rel_error: float | None = None


@dataclass(frozen=True)
class Verdict:
    """One thing that slows a file, and what to do.

    Args:
        cause: ``channels``, ``dead-branch`` and so on.
        words: what is there, a sentence.
        advice: what to do, a sentence.
        nodes: first outputs of the nodes concerned.
        takes_s: what the ops concerned take inside the model, measured.
        alone_s, instead_s: the nodes alone, and what was tried in their place, both measured;
            None where nothing has to run in their place.
        saves_s: saving in the whole file: predicted, or measured where ``checked`` says the same;
            None where nothing was tried, so that this is only an observation of ``takes_s``.
        keeps_outputs: whether the file computes the same after it, but for rounding.
        checked: None where it was not tried on the whole file.
    """

    cause: str
    words: str
    advice: str
    nodes: tuple[str, ...]
    takes_s: float
    alone_s: float | None
    instead_s: float | None
    saves_s: float | None
    keeps_outputs: bool
    checked: VerdictCheck | None = None

    @property
    def measured(self) -> str:
        """What was measured, in one line."""
        text = f"measured: {format_s(self.takes_s)} inside the model"
        if self.alone_s is not None and self.instead_s is not None:
            text += f"; alone {format_s(self.alone_s)}, changed {format_s(self.instead_s)}"
        return text

    @property
    def stake_s(self) -> float:
        """What it saves, or else what it takes."""
        return self.takes_s if self.saves_s is None else self.saves_s

    @property
    def predicted(self) -> str:
        """What is predicted, in one line; "" where it was measured on the whole file at once, or
        nothing was tried."""
        if self.saves_s is None or (self.checked and self.checked.saves_s == self.saves_s):
            return ""
        return f"predicted: saves {format_s(self.saves_s)}"

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {**asdict(self), "nodes": list(self.nodes)}
