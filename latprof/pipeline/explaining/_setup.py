"""How a file is to be explained."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from latprof.devices import Device
from latprof.pipeline.explaining._roofline import TableFigures

__all__ = ["Setup"]

_STAGES = (
    "profiling ops",
    "timing ops alone",
    "timing what promises most",
    "checking advice",
    "trying settings",
)


@dataclass(frozen=True)
class Setup:
    """What ``why`` was asked for.

    Args:
        open_with: (threads, settings that differ) to a device.
        threads: of the runtime.
        figures: of a table; None without one.
        check: whether advice is measured on the whole file.
        max_s: that all may take; None: what is of use.
        folder: for copies; it is removed afterwards.
        on_progress: called with what is being done, and the share of the whole that is over.
    """

    open_with: Callable[[int, dict[str, Any]], Device]
    threads: int
    figures: TableFigures | None
    check: bool
    max_s: float | None
    folder: Path
    on_progress: Callable[[str, float], None] | None
    _start_s: float = field(default_factory=time.monotonic)

    @property
    def brief(self) -> bool:
        """Whether only what verdicts need is measured."""
        return self.max_s is not None

    @property
    def left_s(self) -> float:
        """Of ``max_s``; infinity without one."""
        if self.max_s is None:
            return math.inf
        return max(0.0, self._start_s + self.max_s - time.monotonic())

    def open(self) -> Device:
        """The device, with the target of the table where there is one.

        Raises:
            TargetMismatchError: it has another.
        """
        device = self.open_with(self.threads, {})
        if self.figures is not None:
            try:
                device.target.require(self.figures.target, "the table")
            except BaseException:
                device.close()
                raise
        return device

    def report(self, what: str) -> Callable[[float], None]:
        """What takes the share of a stage that is over."""

        def update(share: float) -> None:
            if self.on_progress is not None:
                self.on_progress(what, (_STAGES.index(what) + share) / len(_STAGES))

        return update
