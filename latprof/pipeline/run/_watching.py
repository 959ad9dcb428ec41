"""What a run tells while it trains: the progress line, ``log.jsonl``, and TensorBoard's scalars."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latprof.compress import Compressor, Tick, status
from latprof.vocabulary import Closing

if TYPE_CHECKING:
    from latprof.integrations import TensorBoard

__all__ = ["Progress", "Watch"]

#: Called at each step with phase, step, total, loss, accuracy, and what ``status`` gives.
Progress = Callable[[Mapping[str, Any]], None]

_EVERY = 10
#: Steps over which the loss and accuracy of single batches are averaged.
_MEMORY = 20


class Watch(Closing):
    """Follows one run; a context in which its files are open.

    Args:
        folder: gets ``log.jsonl``, a row each tenth step; a run that goes on appends to it.
        board: gets the same rows, fine-tuning after the masks.
    """

    def __init__(
        self, folder: Path, comp: Compressor, on_progress: Progress, board: TensorBoard | None
    ) -> None:
        self._comp, self._on_progress, self._board = comp, on_progress, board
        self._log = (folder / "log.jsonl").open("a")
        self._means: dict[str, float] = {}
        self._status = status(comp)
        self._after = 0

    def begin(self, after: int) -> None:
        """A new phase: averages start anew, and TensorBoard counts its steps from ``after``."""
        self._means, self._after = {}, after

    def see(self, phase: str, tick: Tick) -> bool:
        """Tell of this step; whether the compressor was looked at."""
        for name, value in (("loss", tick.loss), ("accuracy", tick.accuracy)):
            mean = self._means.get(name, value)
            self._means[name] = mean + (value - mean) / _MEMORY
        due = tick.step % _EVERY == 0 or tick.step == tick.total
        if due:
            self._status = status(self._comp)
        place = {"phase": phase, "step": tick.step, "total": tick.total}
        row = {**place, **self._means, **self._status}
        if due:
            self._log.write(json.dumps(row) + "\n")
            self._log.flush()
            if self._board is not None:
                self._board.log(self._after + tick.step, self._comp, **self._means)
        self._on_progress(row)
        return due

    def close(self) -> None:
        self._log.close()
        if self._board is not None:
            self._board.close()
