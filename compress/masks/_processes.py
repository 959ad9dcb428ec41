"""What the processes of one training run must agree on, so that their masks stay the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from torch import Tensor, distributed

__all__ = ["average", "broadcast", "from_first"]

T = TypeVar("T")


def _several() -> bool:
    return distributed.is_available() and distributed.is_initialized()


def average(tensor: Tensor) -> None:
    """Replace by the mean over all processes."""
    if _several():
        distributed.all_reduce(tensor)
        tensor.div_(distributed.get_world_size())


def broadcast(tensor: Tensor) -> None:
    """Replace by the first process's."""
    if _several():
        distributed.broadcast(tensor, 0)


def from_first(compute: Callable[[], T]) -> T:
    """What ``compute`` gives in the first process, in every process: measurements differ."""
    if not _several():
        return compute()
    values = [compute() if distributed.get_rank() == 0 else None]
    distributed.broadcast_object_list(values, src=0)
    return values[0]  # type: ignore[return-value]  # the first process's
