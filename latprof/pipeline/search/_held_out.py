"""What samples are judged on, apart from what they are trained with and from what is reported."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset

from latprof.compress import Batches, DatasetBatches, TensorBatches
from latprof.compress.train import held_out_batches
from latprof.errors import UsageError

__all__ = ["halves", "hold_out"]


def halves(data: Any, seed: int) -> tuple[Any, Any]:
    """Test data in two parts at random: (to judge on, to report).

    Args:
        data: (inputs, labels), a Dataset, a DataLoader, or anything that gives the same batches
            each time, of which every second one is taken.

    Raises:
        UsageError: it cannot be divided.
    """
    if isinstance(data, tuple):
        inputs, labels = data
        first, second = _parts(len(labels), len(labels) // 2, seed)
        return (inputs[first], labels[first]), (inputs[second], labels[second])
    if isinstance(data, DataLoader) and hasattr(data.dataset, "__len__"):
        first, second = _parts(len(data.dataset), len(data.dataset) // 2, seed)
        return _loader(data, first), _loader(data, second)
    if isinstance(data, Dataset) or (hasattr(data, "__getitem__") and hasattr(data, "__len__")):
        first, second = _parts(len(data), len(data) // 2, seed)
        return Subset(data, first.tolist()), Subset(data, second.tolist())
    if sum(1 for _ in held_out_batches(data)) < 2:
        raise UsageError("the test data has a single batch; expected two or more, to judge on half")
    return _EverySecond(data, 0), _EverySecond(data, 1)


def hold_out(batches: Batches, share: float, seed: int) -> tuple[Batches, Any]:
    """Training data without a share of its rows, and those rows.

    Raises:
        UsageError: its rows are not known, or too few.
    """
    if isinstance(batches, TensorBatches):
        rows = len(batches.labels)
        held, rest = _parts(rows, round(share * rows), seed)
        left = replace(batches, images=batches.images[rest], labels=batches.labels[rest])
        return left, (batches.images[held], batches.labels[held])
    if isinstance(batches, DatasetBatches):
        rows = len(batches.dataset)  # type: ignore[arg-type]
        held, rest = _parts(rows, round(share * rows), seed)
        return batches.subset(rest.tolist()), Subset(batches.dataset, held.tolist())
    raise UsageError(
        f"held_out is {share:g}, and the training data is {type(batches).__name__}, whose rows are "
        "not known; expected a Dataset, or held-out data as the third part of the data"
    )


def _parts(rows: int, count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Row numbers of a part of ``count`` and of the rest, each in order."""
    if not 0 < count < rows:
        raise UsageError(f"{count} of {rows} rows cannot be held out; expected at least one of two")
    order = torch.randperm(rows, generator=torch.Generator().manual_seed(seed))
    return order[:count].sort().values, order[count:].sort().values


def _loader(loader: DataLoader[Any], rows: Tensor) -> DataLoader[Any]:
    return DataLoader(
        Subset(loader.dataset, rows.tolist()),
        batch_size=loader.batch_size or 1,
        num_workers=loader.num_workers,
        collate_fn=loader.collate_fn,
    )


class _EverySecond:
    """Every second batch of test data, from the given one."""

    def __init__(self, data: Any, first: int) -> None:
        self._data, self._first = data, first

    def __iter__(self) -> Iterator[Any]:
        for index, batch in enumerate(held_out_batches(self._data)):
            if index % 2 == self._first:
                yield batch
