"""Training data, the same in every run."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from latprof.errors import UsageError

__all__ = ["Batches", "TensorBatches"]


class Batches(Protocol):
    """Training data. Law: ``epoch(e)`` gives the same batches in the same order every time."""

    def __len__(self) -> int:
        """Batches per epoch."""

    def epoch(self, number: int) -> Iterable[tuple[Tensor, Tensor]]:
        """Inputs (B, ...) and labels (B,) of one epoch."""


@dataclass(frozen=True)
class TensorBatches:
    """Images in memory, shuffled, and flipped at random, by the seed and the epoch.

    Args:
        images: (N, C, H, W).
        labels: (N,).
        batch: images of a batch; what is left over at an epoch's end is not used in it.
        seed: of order and flips.

    Raises:
        UsageError: no batch can be made of these.
    """

    images: Tensor
    labels: Tensor
    batch: int = 128
    seed: int = 0

    def __post_init__(self) -> None:
        if len(self.images) != len(self.labels):
            raise UsageError(
                f"{len(self.images)} images and {len(self.labels)} labels; expected one each"
            )
        if not 1 <= self.batch <= len(self.images):
            raise UsageError(f"batch is {self.batch}; expected 1 to {len(self.images)} images")

    def __len__(self) -> int:
        return len(self.images) // self.batch

    def epoch(self, number: int) -> Iterable[tuple[Tensor, Tensor]]:
        """(B, C, H, W) images, some flipped, and (B,) labels."""
        generator = torch.Generator().manual_seed(1_000_003 * self.seed + number)
        order = torch.randperm(len(self.images), generator=generator)
        for index in range(len(self)):
            chosen = order[index * self.batch : (index + 1) * self.batch]
            flip = torch.rand(len(chosen), generator=generator) < 0.5
            images = self.images[chosen]
            images[flip] = images[flip].flip(3)
            yield images.contiguous(memory_format=torch.channels_last), self.labels[chosen]
