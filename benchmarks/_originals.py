"""The network of a seed, which all ways of a study start from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from latprof.compress import TrainSettings, train

__all__ = ["trained_once"]


def trained_once(
    model: nn.Module, path: Path, batches: Any, settings: TrainSettings, *, seed: int
) -> nn.Module:
    """The model with the weights at ``path``, in eval mode; where there are none it is trained."""
    if not path.exists():
        train(model, batches, settings, checkpoint=path.with_suffix(".checkpoint"), seed=seed)
        torch.save(model.state_dict(), path)
    model.load_state_dict(torch.load(path, weights_only=True))
    return model.eval()
