"""Which channels can only be removed together: labels, and the unions between them.

Every element of every tensor carries a *label*: 0 where it is always there, else the number of
the channel it belongs to. Deleting a channel deletes the elements with its label. The one law the
whole tracer keeps:

    an element labelled u depends on elements labelled u or 0 alone, except through a weight
    that masks them (a *reader*).

Where an op would break it, the labels are united (they can only be removed together) or pinned
(they stay). Label arrays have the tensor's number of dims, each of the tensor's size or of size 1
where the label does not change along it, so that moving data is done by the very op that moves it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["LabelArray", "Labels", "varying"]

LabelArray = NDArray[np.int64]


def varying(labels: LabelArray) -> list[int]:
    """The dims along which the label changes, for a compressed array."""
    return [d for d, n in enumerate(labels.shape) if n > 1]


class Labels:
    """A union-find over labels, vectorized; label 0 never joins anything."""

    def __init__(self) -> None:
        self._parent = np.zeros(1, dtype=np.int64)
        self._hard = np.zeros(1, dtype=np.bool_)
        self._size = 1
        self._pinned: list[tuple[LabelArray, str]] = []
        self._tied: list[tuple[int, str]] = []

    def fresh(self, count: int, *, hard: bool = True) -> LabelArray:
        """(count,) labels never used before; soft until they are united with a hard one."""
        start, self._size = self._size, self._size + count
        if self._size > len(self._parent):
            grown = np.arange(max(self._size, 2 * len(self._parent)), dtype=np.int64)
            grown[: len(self._parent)] = self._parent
            self._parent = grown
            self._hard = np.concatenate([self._hard, np.zeros(len(grown) - len(self._hard), bool)])
        self._hard[start : self._size] = hard
        return np.arange(start, self._size, dtype=np.int64)

    def find(self, labels: LabelArray) -> LabelArray:
        """The representative of each label."""
        parent = self._parent
        found = parent[labels]
        while True:
            above = parent[found]
            if np.array_equal(above, found):
                break
            found = above
        parent[labels] = found
        return found

    def is_hard(self, labels: LabelArray) -> NDArray[np.bool_]:
        """False for 0 and for labels of parameters that no channel has met yet."""
        return self._hard[self.find(labels)]

    def compress(self, labels: LabelArray) -> LabelArray:
        """Representatives, with every dim of size 1 along which they do not change."""
        found = self.find(labels)
        for d in range(found.ndim):
            if found.shape[d] > 1:
                first = np.take(found, [0], axis=d)
                if np.array_equal(found, np.broadcast_to(first, found.shape)):
                    found = first
        return found

    def unite(self, a: LabelArray, b: LabelArray) -> None:
        """Unite a and b elementwise (broadcast), where both are labels."""
        left, right = (x.ravel() for x in np.broadcast_arrays(a, b))
        both = (left > 0) & (right > 0) & (left != right)
        left, right = left[both], right[both]
        while left.size:
            left, right = self.find(left), self.find(right)
            apart = left != right
            left, right = left[apart], right[apart]
            high, low = np.maximum(left, right), np.minimum(left, right)
            np.minimum.at(self._parent, high, low)
            np.logical_or.at(self._hard, self._parent[high], self._hard[high])

    def tie(self, labels: LabelArray, dims: Sequence[int], reason: str) -> LabelArray:
        """Unite along ``dims``, which become of size 1; pin what shares them with a 0."""
        labels = self.compress(labels)
        dims = [d for d in dims if labels.shape[d] > 1]
        if not dims:
            return labels
        low = labels.min(axis=tuple(dims), keepdims=True)
        if not low.all():  # beside elements that always stay: these must stay too
            self.pin(labels[np.broadcast_to(low == 0, labels.shape)], reason)
        top = labels.max(axis=tuple(dims), keepdims=True)
        self.unite(labels, top)
        left = self.compress(top)
        if left.size == 1 and left.any():  # all of them, into one
            self._tied.append((int(left.ravel()[0]), reason))
        return left

    def pin(self, labels: LabelArray, reason: str) -> None:
        """These must stay, because of ``reason``."""
        labels = np.unique(labels)
        labels = labels[labels > 0]
        if labels.size:
            self._pinned.append((labels, reason))

    def pins(self) -> dict[int, str]:
        """{representative: the first reason it was pinned for}."""
        reasons: dict[int, str] = {}
        for labels, reason in self._pinned:
            for label in np.unique(self.find(labels)).tolist():
                reasons.setdefault(label, reason)
        return reasons

    def ties(self) -> dict[int, str]:
        """{representative: the first reason its channels were tied together for}."""
        reasons: dict[int, str] = {}
        if self._tied:
            found = self.find(np.array([label for label, _ in self._tied]))
            for label, (_, reason) in zip(found.tolist(), self._tied, strict=True):
                reasons.setdefault(label, reason)
        return reasons
