"""What the processes of one training run must agree on, so that their masks stay the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from torch import Tensor, distributed

__all__ = ["agreed", "average", "share"]

T = TypeVar("T")


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


def agreed(make: Callable[[], T]) -> T:
    """What the first process makes, in every process: stopwatches differ."""
    if not _several():
        return make()
    shared = [make() if distributed.get_rank() == 0 else None]
    distributed.broadcast_object_list(shared, src=0)
    return shared[0]  # type: ignore[return-value]  # the first process's
