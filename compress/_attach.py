"""Masks on a model that another framework calls: its forward becomes the masked one for a while."""

from __future__ import annotations

import functools
from typing import Any

import torch

from latprof.compress._compressor import Compressor
from latprof.errors import UsageError

__all__ = ["Attachment", "fold"]


class Attachment:
    """While attached, calling ``comp.model`` computes what ``comp`` computes.

    For loops that insist on the model itself, as ``transformers.Trainer`` does for saving, labels
    and columns. The masked forward stands on the instance; hooks of the outermost module run
    twice. Deep copies would carry it along, so detach before ``comp.shrink()``.
    """

    def __init__(self, comp: Compressor) -> None:
        self.comp = comp
        self.attached = False
        self._own: Any = None

    def attach(self) -> None:
        """Raises UsageError where a forward is attached already."""
        if self.attached:
            raise UsageError(f"{type(self.comp.model).__name__} is attached already; detach first")
        model = self.comp.model
        self._own = vars(model).get("forward")  # accelerate puts one there for mixed precision

        @functools.wraps(model.forward)
        def masked(*args: Any, **kwargs: Any) -> Any:
            self._put(self._own)
            try:
                return self.comp(*args, **kwargs)
            finally:
                self._put(masked)

        self._put(masked)
        self.attached = True

    def detach(self) -> None:
        """Give the model its own forward back; nothing where none is attached."""
        if self.attached:
            self._put(self._own)
            self.attached = False

    def _put(self, forward: Any) -> None:
        if forward is None:
            vars(self.comp.model).pop("forward", None)
        else:
            vars(self.comp.model)["forward"] = forward


@torch.no_grad()
def fold(comp: Compressor) -> None:
    """Multiply fixed masks into the model's weights, so that it computes the same without them.

    Afterwards every mask is 0 or 1, and ``comp``, ``comp.model`` and ``comp.shrink()`` agree.

    Raises:
        UsageError: the masks are still moving.
    """
    if not comp.fixed:
        raise UsageError("the masks are still trained; call fix() before they are folded in")
    comp.weights.fold(comp.model, comp.scales())
    comp.selection.harden()
