"""Weights that are computed where they are used, in the order that multiplies least.

For a while they take the places of a layer's own. A layer of few rows, such as a classifier or what
follows a global pooling, has inputs that are far smaller than its weight: there the masks multiply
the inputs, and factors are applied one after the other. The function is the same.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, Self

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils import _pytree as pytree

__all__ = ["Masked", "Product"]


class Deferred(Tensor):
    """Whatever but a layer's forward is done with one is done with the ``whole`` weight.

    Args:
        parts: what the weight is made of.
    """

    parts: tuple[Tensor, Tensor]

    @staticmethod
    def __new__(cls, first: Tensor, second: Tensor) -> Self:
        placeholder: Self = torch.Tensor._make_subclass(cls, first.detach())  # never read
        placeholder.parts = first, second
        return placeholder

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        of_layer = [isinstance(a, Deferred) for a in args[:2]] == [False, True]
        if of_layer and func in (functional.linear, functional.conv2d):
            input, weight, *rest = args
            return func(*weight.cheapest(input), *rest, **kwargs)
        if of_layer and func is functional.embedding:
            indices, weight, *rest = args
            return weight.rows(indices, *rest, **kwargs)
        args, kwargs = pytree.tree_map_only(Deferred, lambda d: d.whole(), (args, kwargs))
        return func(*args, **kwargs)

    @abstractmethod
    def whole(self) -> Tensor:
        """The weight itself."""

    @abstractmethod
    def cheapest(self, input: Tensor) -> tuple[Tensor, Tensor]:
        """An input and a weight of which the layer computes what it does of ``input`` and this."""

    def rows(self, indices: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """What ``functional.embedding`` looks up in the weight."""
        return functional.embedding(indices, self.whole(), *args, **kwargs)


class Masked(Deferred):
    """weight (out, in, ...) * mask (in,)."""

    def whole(self) -> Tensor:
        weight, _ = self.parts
        return weight * self._along(weight)

    def cheapest(self, input: Tensor) -> tuple[Tensor, Tensor]:
        weight, _ = self.parts
        if input.numel() >= weight.numel():
            return input, self.whole()
        return input * self._along(input), weight

    def _along(self, other: Tensor) -> Tensor:
        """The mask for the channels of a weight or of an input, which lie as far from their end."""
        weight, mask = self.parts
        return mask.to(other.dtype).view(-1, *(1 for _ in weight.shape[2:]))


class Product(Deferred):
    """left (out, rank) @ right (rank, in)."""

    def whole(self) -> Tensor:
        left, right = self.parts
        return left @ right

    def rows(self, indices: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        left, right = self.parts
        if indices.numel() >= len(left):
            return super().rows(indices, *args, **kwargs)
        return functional.embedding(indices, left, *args, **kwargs) @ right

    def cheapest(self, input: Tensor) -> tuple[Tensor, Tensor]:
        left, right = self.parts
        (out, rank), inner = left.shape, right.shape[1]
        rows = input.numel() // inner
        if rows * rank * (inner + out) >= (rows + rank) * inner * out:
            return input, self.whole()
        return functional.linear(input, right), left
