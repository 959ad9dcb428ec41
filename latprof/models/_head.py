"""The head of a network: how many classes it has."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from latprof.compress.graph import Inputs, flat_outputs
from latprof.errors import ModelLoadError

__all__ = ["Wanted", "outputs_of", "set_head"]


@dataclass(frozen=True)
class Wanted:
    """How a named model is to be made.

    Args:
        classes: outputs of its head; None: as it has them.
        published: with published weights.
        folder: names may be folders in it.
    """

    classes: int | None = None
    published: bool = False
    folder: Path = Path()


def outputs_of(model: nn.Module, inputs: Any) -> int:
    """Size of the last dim of the model's first output; of pixels' classes, the second dim's."""
    given = Inputs.of(inputs)
    was = model.training
    model.train(False)
    with torch.no_grad():
        first = flat_outputs(model(*given.args, **given.kwargs))[0]
    model.train(was)
    return int(first.shape[1 if first.ndim == 4 else -1])


def set_head(model: nn.Module, inputs: Any, classes: int, spec: str) -> None:
    """Make the model's last linear layer or 1x1 convolution one of so many outputs; nothing is
    done where they are as many already.

    Raises:
        ModelLoadError: its last layer is another one.
    """
    if outputs_of(model, inputs) == classes:
        return
    layers = [
        (name, m)
        for name, m in model.named_modules()
        if isinstance(m, (nn.Linear, nn.Conv1d, nn.Conv2d))
    ]
    name, last = layers[-1] if layers else ("", None)
    new: nn.Module
    if isinstance(last, nn.Linear):
        new = nn.Linear(last.in_features, classes, last.bias is not None)
    elif isinstance(last, nn.Conv2d) and last.groups == 1:
        new = nn.Conv2d(last.in_channels, classes, last.kernel_size, bias=last.bias is not None)  # type: ignore[arg-type]
    else:
        raise ModelLoadError(
            f"MODEL {spec}: no linear layer is its head; return a model of {classes} classes, and "
            "leave out classes"
        )
    parent, _, own = name.rpartition(".")
    if not own:
        raise ModelLoadError(f"MODEL {spec} is one layer; return one of {classes} outputs")
    setattr(model.get_submodule(parent), own, new)
    if (found := outputs_of(model, inputs)) != classes:
        raise ModelLoadError(
            f"MODEL {spec}: with a new {name} it has {found} outputs, not {classes}; return a "
            "model of so many classes, and leave out classes"
        )
