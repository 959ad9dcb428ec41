"""Activation checkpointing: what backward computes again finds the masks in place.

``torch.utils.checkpoint`` runs a part of the forward a second time during backward, when the
model's parameters are bare again. While a masked forward runs, each part that is checkpointed is
wrapped, so that its second run finds what its first run found.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from torch.utils import checkpoint

__all__ = ["recomputed_in"]

#: Opened, it has the masked parameters in place.
Context = Callable[[], AbstractContextManager[None]]


@contextmanager
def recomputed_in(same: Context, fresh: Context) -> Iterator[None]:
    """Within, the parts of a forward that are checkpointed are recomputed in these contexts.

    Args:
        same: puts in place what the forward computes with. Without reentrant autograd the graph
            of the forward is kept, and only what it saved is computed again.
        fresh: computes what it puts in place anew: reentrant autograd builds a second graph, and
            frees it before it comes to the next part.
    """
    # Models hold ``checkpoint`` itself; the two that it calls are looked up in its module.
    function, generator = (
        checkpoint.CheckpointFunction,
        checkpoint._checkpoint_without_reentrant_generator,
    )
    checkpoint.CheckpointFunction = _Reentrant(function, fresh)  # type: ignore[misc, assignment]
    checkpoint._checkpoint_without_reentrant_generator = _NotReentrant(generator, same)  # type: ignore[assignment]
    try:
        yield
    finally:
        checkpoint.CheckpointFunction = function  # type: ignore[misc]
        checkpoint._checkpoint_without_reentrant_generator = generator


class _Reentrant:
    """Stands for ``CheckpointFunction``, which runs its function first in forward."""

    def __init__(self, original: Any, context: Context) -> None:
        self._original, self._context = original, context

    def apply(self, function: Any, *args: Any) -> Any:
        return self._original.apply(_Run(function, self._context, first=True), *args)


class _NotReentrant:
    """Stands for torch's generator, which runs its function in backward alone."""

    def __init__(self, original: Any, context: Context) -> None:
        self._original, self._context = original, context

    def __call__(self, function: Any, *args: Any, **kwargs: Any) -> Any:
        return self._original(_Run(function, self._context, first=False), *args, **kwargs)


class _Run:
    """A checkpointed function; every run but the first one is in the context."""

    def __init__(self, function: Any, context: Context, *, first: bool) -> None:
        self._function, self._context, self._first = function, context, first

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self._first:
            self._first = False
            return self._function(*args, **kwargs)
        with self._context():
            return self._function(*args, **kwargs)
