"""What a run has measured of its networks, so that one that was killed goes on as it would have."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from torch import nn

from latprof.pipeline.run._folder import model_digest
from latprof.vocabulary import load_json, save_json

__all__ = ["MeasuredNetworks"]

_KIND, _VERSION = "measured networks", 1


class MeasuredNetworks:
    """Seconds of networks, each measured once: a resumed run that came to another measurement of
    the same network would choose other masks.

    Args:
        path: a JSON file, made where absent.
        measure: seconds of a network.
    """

    def __init__(self, path: Path, measure: Callable[[nn.Module], float]) -> None:
        self._path, self._measure = path, measure
        self._known: dict[str, float] = load_json(path, _KIND, _VERSION) if path.is_file() else {}

    def __call__(self, model: nn.Module) -> float:
        key = model_digest(model)
        if key not in self._known:
            self._known[key] = self._measure(model)
            save_json(self._path, _KIND, _VERSION, self._known)
        return self._known[key]
