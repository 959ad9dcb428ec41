"""One value where several processes train one network."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from torch import distributed

__all__ = ["agreed"]

T = TypeVar("T")


def agreed(make: Callable[[], T]) -> T:
    """What the first process makes, in every process: chance and stopwatches would differ."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return make()
    shared = [make() if distributed.get_rank() == 0 else None]
    distributed.broadcast_object_list(shared, src=0)
    return shared[0]  # type: ignore[return-value]  # the first process's
