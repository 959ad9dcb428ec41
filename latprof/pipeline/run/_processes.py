"""One run in several processes, as ``accelerate launch`` and ``torchrun`` start them: all of them
train, and the first does everything else."""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path
from typing import Any

from latprof.devices import Device
from latprof.errors import UsageError
from latprof.vocabulary import Target, require

__all__ = ["DeviceOfFirst", "is_first", "is_one_of_several", "join_processes"]


def is_first() -> bool:
    """Whether this process measures, writes and prints."""
    return os.environ.get("RANK", "0") == "0"


def is_one_of_several() -> bool:
    """Whether a launcher started this process as one of several."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def join_processes() -> None:
    """Meet the other processes, where there are some; may be called again."""
    if is_one_of_several():
        require("accelerate", extra="train", why="several processes").PartialState()


class DeviceOfFirst(Device):
    """Stands in processes after the first for the device, which only the first one opens."""

    def __init__(self, target: Target) -> None:
        self._target = target

    @property
    def target(self) -> Target:
        return self._target

    def round(self, jobs: Any, *, measure_s: float, budget: Any = None) -> Generator[Any]:
        raise UsageError("only the first process of a run measures")

    def run(self, path: Path, inputs: Any) -> list[Any]:
        raise UsageError("only the first process of a run measures")

    def environment(self) -> dict[str, Any]:
        return {}

    def close(self) -> None:
        """There is nothing to close."""
