"""What a run has measured of its networks, so that one that was killed goes on as it would have."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

from torch import nn

from latprof.vocabulary import replace_file

__all__ = ["Measured"]


class Measured:
    """Seconds of networks, each measured once: a resumed run that came to another measurement of
    the same network would choose other masks.

    Args:
        path: a JSON file, made where absent.
        measure: seconds of a network.
    """

    def __init__(self, path: Path, measure: Callable[[nn.Module], float]) -> None:
        self._path, self._measure = path, measure
        self._known: dict[str, float] = json.loads(path.read_text()) if path.is_file() else {}

    def __call__(self, model: nn.Module) -> float:
        key = _digest(model)
        if key not in self._known:
            self._known[key] = self._measure(model)
            replace_file(self._path, json.dumps(self._known, indent=1).encode())
        return self._known[key]


def _digest(model: nn.Module) -> str:
    """Of all tensors, bit for bit."""
    found = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        found.update(f"{name} {tuple(tensor.shape)} {tensor.dtype} ".encode())
        found.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()
