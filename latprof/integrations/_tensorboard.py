"""Scalars of a run for TensorBoard."""

from __future__ import annotations

from pathlib import Path

from tensorboardX import SummaryWriter

from latprof.compress import Compressor, status
from latprof.vocabulary import Closing

__all__ = ["TensorBoard"]


class TensorBoard(Closing):
    """Writes a compressor's scalars, and any of one's own, to an event file.

        with TensorBoard("runs/first") as board:
            ...
            board.log(step, comp, loss=float(loss))

    Args:
        folder: of the event files; ``tensorboard --logdir`` reads it.
    """

    def __init__(self, folder: str | Path) -> None:
        self._writer = SummaryWriter(str(folder))

    def log(self, step: int, comp: Compressor | None = None, **scalars: float) -> None:
        """Write what ``latprof.compress.status`` gives of the compressor, each under ``latprof/``,
        and the scalars by their own names."""
        if comp is not None:
            scalars |= {f"latprof/{name}": value for name, value in status(comp).items()}
        for name, value in scalars.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Write what is still in memory."""
        self._writer.close()
