"""Mask phases that samples are taken from: one, or one for each point of the space that needs its
own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from latprof.compress import Compressor
from latprof.pipeline.run import Levels, Settings, Training, locked

__all__ = ["Phase", "Phases"]

#: Parameters that fine-tuning alone depends on.
_FINE_TUNING = ("lr",)
#: Parameters that say where a sample is taken.
_PLACE = "progress"


@dataclass(frozen=True)
class Phase:
    """Masks that have gone down.

    Args:
        training: of this phase, with its settings.
        comp: whose masks they are.
        levels: their states on the way.
    """

    training: Training
    comp: Compressor
    levels: Levels


class Phases:
    """Trains each mask phase once, in a folder of its own; several processes share them.

    Args:
        folder: of the run.
        settings: of the run, which points of the space change.
        make: trains the masks by these settings in this folder, or goes on.
    """

    def __init__(
        self, folder: Path, settings: Settings, make: Callable[[Settings, Path], Phase]
    ) -> None:
        self._folder, self._settings, self._make = folder, settings, make
        self._known: dict[str, Phase] = {}

    def of(self, values: Mapping[str, str | int | float]) -> Phase:
        """The phase of a sample with these parameters, its learning rate among them."""
        own = {k: v for k, v in values.items() if k not in _FINE_TUNING and _PLACE not in k}
        key = self.key(values)
        if key not in self._known:
            folder = self._folder / "phases" / key if own else self._folder
            with locked(folder, waits=True):
                self._known[key] = self._make(self._settings.at(own), folder)
        found = self._known[key]
        lr = {name: values[name] for name in _FINE_TUNING if name in values}
        training = found.training.at(found.training.settings.at(lr))
        return Phase(training, found.comp, found.levels)

    def key(self, values: Mapping[str, str | int | float]) -> str:
        """Alike for samples of one phase; a name for its folder, empty for the run's own."""
        own = {k: v for k, v in values.items() if k not in _FINE_TUNING and _PLACE not in k}
        return ",".join(f"{name}={value}" for name, value in sorted(own.items()))
