"""Parts of a model that run in training mode alone, such as auxiliary heads."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from latprof.compress.graph._inputs import Inputs, evaluating

__all__ = ["TrainingOnlyWarning", "training_only", "warn_of_training_only"]


class TrainingOnlyWarning(UserWarning):
    """Parameters that only the training forward uses; they are in no graph."""


def warn_of_training_only(model: nn.Module, inputs: Inputs) -> None:
    """Warns:
    TrainingOnlyWarning: names parameters that a smaller network keeps whole.
    """
    if names := training_only(model, inputs):
        warnings.warn(
            f"{type(model).__name__}: {', '.join(names)} are used in training mode alone, so that "
            "no group holds them and shrink leaves them whole: the smaller network may fail in "
            "training mode; remove that head, or keep what it reads with exclude=",
            TrainingOnlyWarning,
            stacklevel=3,
        )


def training_only(model: nn.Module, inputs: Inputs) -> list[str]:
    """Names of the parameters of modules that are called in training mode and not in eval mode.

    The training forward runs only where the other one leaves a module with parameters out; what
    it draws and what it counts is undone.
    """
    own = {
        path: [f"{path}.{name}" if path else name for name in module._parameters]
        for path, module in model.named_modules()
        if any(p is not None for p in module._parameters.values())
    }
    idle = own.keys() - _called(model, inputs, own, training=False)
    if not idle:
        return []
    called = _called(model, inputs, idle, training=True)
    return [name for path in own if path in idle & called for name in own[path]]


def _called(model: nn.Module, inputs: Inputs, paths: Any, *, training: bool) -> set[str]:
    """Which of these modules one forward calls; as far as it comes, where it fails."""
    called: set[str] = set()
    handles = [
        model.get_submodule(path).register_forward_pre_hook(
            lambda _, __, path=path: called.add(path)
        )
        for path in paths
    ]
    try:
        with torch.no_grad(), torch.random.fork_rng(), evaluating(model), _as_it_was(model):
            if training:
                for module in model.modules():
                    module.training = True
            model(*inputs.args, **inputs.kwargs)
    except Exception:  # noqa: BLE001  a training forward may want labels, or a larger batch
        pass
    finally:
        for handle in handles:
            handle.remove()
    return called


@contextmanager
def _as_it_was(model: nn.Module) -> Iterator[None]:
    """Without the fused paths of eval mode; running statistics and counters as before, after."""
    before = [(buffer, buffer.clone()) for buffer in model.buffers()]
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        for buffer, value in before:
            buffer.copy_(value)
