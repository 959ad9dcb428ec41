"""What the processes of one training run must agree on, so that their masks stay the same."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, distributed, nn

__all__ = ["average", "decided", "share"]


def _several() -> bool:
    return distributed.is_available() and distributed.is_initialized()


def average(tensor: Tensor) -> None:
    """Replace by the mean over all processes."""
    if _several():
        distributed.all_reduce(tensor)
        tensor.div_(distributed.get_world_size())


def share(tensor: Tensor) -> None:
    """Replace by the first process's."""
    if _several():
        distributed.broadcast(tensor, 0)


def decided(measure: Callable[[nn.Module], float], model: nn.Module, like: Tensor) -> float:
    """What ``measure`` says of the model in the first process; the others wait for it.

    Args:
        like: any tensor on the device over which the processes talk.
    """
    if not _several():
        return measure(model)
    value = torch.zeros((), dtype=torch.float64, device=like.device)
    if distributed.get_rank() == 0:
        value.fill_(measure(model))
    share(value)
    return float(value)
