"""Any torch Dataset or DataLoader as training data that is the same in every run."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    Sampler,
    SequentialSampler,
    Subset,
)

from latprof.compress.graph import first_line
from latprof.compress.train._batch import batch_size, rows
from latprof.compress.train._batches import Batches
from latprof.errors import LatprofError, TrainingError, UsageError

__all__ = ["DatasetBatches", "as_batches", "epoch_from", "row_error"]


class DatasetBatches:
    """A torch Dataset, shuffled by the seed and the epoch; nothing is held in memory. A DataLoader
    without ``shuffle`` keeps its order.

    What an item draws (crops, flips) follows from the seed, the epoch and its row: the same in
    each run, from whatever step it goes on, in whatever worker.

        batches = DatasetBatches(dataset, batch=64)
        for batch in batches.epoch(0):
            ...

    Args:
        dataset: has a length and items; or a DataLoader, of which dataset, batch size, collation,
            workers and own sampler or batch sampler are kept.
        batch: rows of a batch; what is left over at an epoch's end is not used in it.
        seed: of order and of what items draw.
        workers: processes that load items.

    Raises:
        UsageError: no batch can be made of it.
    """

    def __init__(
        self,
        dataset: Dataset[Any] | DataLoader[Any],
        batch: int = 32,
        *,
        seed: int = 0,
        workers: int = 0,
    ) -> None:
        self.seed, self.workers = seed, workers
        self._given: DataLoader[Any] | None = None
        if isinstance(dataset, DataLoader):
            self._given, self.workers = dataset, dataset.num_workers
            batch, dataset = dataset.batch_size or 0, dataset.dataset
        self.dataset, self.batch = dataset, batch
        if isinstance(dataset, IterableDataset) or not hasattr(dataset, "__len__"):
            raise UsageError(
                f"{type(dataset).__name__} has no length and rows; expected a Dataset with "
                "__len__ and __getitem__, so that a run that was stopped can go on"
            )
        self._rows: int = len(dataset)
        if self._own_sampler is None and not 1 <= batch <= self._rows:
            raise UsageError(f"batch is {batch}; expected 1 to {self._rows} rows of the data")

    @property
    def _own_sampler(self) -> Iterable[list[int]] | None:
        """The user's batch sampler, where it is no plain one."""
        given = self._given
        if given is None:
            return None
        sampler = given.sampler
        plain = type(sampler) is SequentialSampler or (
            type(sampler) is RandomSampler
            and not sampler.replacement
            and sampler.num_samples == self._rows
        )
        if plain and type(given.batch_sampler) is BatchSampler:
            return None
        return given.batch_sampler

    def __len__(self) -> int:
        own = self._own_sampler
        return self._rows // self.batch if own is None else len(own)  # type: ignore[arg-type]

    def subset(self, rows: list[int]) -> DatasetBatches:
        """The same of some rows alone.

        Raises:
            UsageError: a batch sampler of the user's own says which rows there are.
        """
        given, part = self._given, Subset(self.dataset, rows)
        if given is None:
            return DatasetBatches(part, self.batch, seed=self.seed, workers=self.workers)
        if self._own_sampler is not None:
            raise UsageError(
                f"{type(given.sampler).__name__} chooses the rows; expected a DataLoader with "
                "shuffle=True or without, to train on some of them"
            )
        loader = DataLoader(
            part,
            batch_size=self.batch,
            shuffle=type(given.sampler) is RandomSampler,
            num_workers=given.num_workers,
            collate_fn=given.collate_fn,
            pin_memory=given.pin_memory,
        )
        return DatasetBatches(loader, seed=self.seed)

    def epoch(self, number: int, start: int = 0) -> Iterator[Any]:
        """Batches of one epoch from the ``start``-th, which costs nothing to skip to.

        Raises:
            TrainingError: a row that does not load; names it.
        """
        own = self._own_sampler
        if own is None:
            generator = torch.Generator().manual_seed(1_000_003 * self.seed + number)
            order = torch.randperm(self._rows, generator=generator).tolist()
            if self._given is not None and type(self._given.sampler) is SequentialSampler:
                order = list(range(self._rows))
            every = [order[i * self.batch : (i + 1) * self.batch] for i in range(len(self))]
        else:
            with seeded(1_000_003 * self.seed + number):
                every = list(own)
        given: dict[str, Any] = {}
        if self._given is not None:
            given = {"collate_fn": self._given.collate_fn, "pin_memory": self._given.pin_memory}
        loader = DataLoader(
            SeededRows(self.dataset, 1_000_003 * self.seed + number),
            batch_sampler=_Fixed(every[start:]),
            num_workers=self.workers,
            **given,
        )
        # The loader draws a seed for its workers: training draws what it would have drawn.
        state = torch.get_rng_state()
        iterator = iter(loader)
        torch.set_rng_state(state)
        yield from iterator


class _Fixed(Sampler[list[int]]):
    """Batches of row numbers, as they are."""

    def __init__(self, batches: list[list[int]]) -> None:
        self._batches = batches

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self._batches)

    def __len__(self) -> int:
        return len(self._batches)


class SeededRows(Dataset[Any]):
    """The rows of a Dataset, each with random draws of its own; one that fails is named."""

    def __init__(self, dataset: Dataset[Any], seed: int) -> None:
        self._dataset, self._seed = dataset, seed

    def __len__(self) -> int:
        return len(self._dataset)  # type: ignore[arg-type]

    def __getitem__(self, row: int) -> Any:
        with seeded(self._seed * 2_147_483 + row):
            try:
                return self._dataset[row]
            except LatprofError:
                raise
            except Exception as exc:
                raise row_error(f"row {row} of the data", exc) from exc


def row_error(row: str, exc: Exception) -> TrainingError:
    """That a row does not load; ``row`` names it."""
    return TrainingError(
        f"{row} does not load ({first_line(exc)}); mend or remove it, and run the same again: it "
        "goes on from its last checkpoint"
    )


class seeded:
    """Draws of torch, numpy and Python within follow from the seed; after it all are as before."""

    def __init__(self, seed: int) -> None:
        self._seed = seed % (1 << 32)

    def __enter__(self) -> None:
        self._states = torch.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002
        torch.default_generator.manual_seed(self._seed)
        np.random.seed(self._seed)  # noqa: NPY002
        random.seed(self._seed)

    def __exit__(self, *_: object) -> None:
        torch.set_rng_state(self._states[0])
        np.random.set_state(self._states[1])  # noqa: NPY002
        random.setstate(self._states[2])


def as_batches(data: Any, *, batch: int = 32, seed: int = 0) -> Batches:
    """Training data of any kind as ``Batches``: itself, a Dataset, or a DataLoader.

    Raises:
        UsageError: it is none of these.
    """
    if hasattr(data, "epoch") and hasattr(data, "__len__"):
        made: Batches = data
        return made
    if isinstance(data, (Dataset, DataLoader)) or (
        hasattr(data, "__getitem__") and hasattr(data, "__len__") and not isinstance(data, Tensor)
    ):
        return DatasetBatches(data, batch, seed=seed)
    raise UsageError(
        f"training data is {type(data).__name__}; expected a torch Dataset or DataLoader, or an "
        "object with a length and epoch(number)"
    )


def epoch_from(batches: Batches, number: int, start: int, part: tuple[int, int] = (0, 1)) -> Any:
    """An epoch's batches from the ``start``-th; of each this process's rows.

    Args:
        part: (this process, number of processes); a batch is divided evenly among them.

    Raises:
        UsageError: a batch has fewer rows than there are processes.
    """
    if isinstance(batches, DatasetBatches):
        every: Iterable[Any] = batches.epoch(number, start)
    else:
        every = (b for i, b in enumerate(batches.epoch(number)) if i >= start)
    rank, processes = part
    for batch in every:
        if processes == 1:
            yield batch
            continue
        size = batch_size(batch)
        if size < processes:
            raise UsageError(
                f"a batch has {size} rows for {processes} processes; use larger batches"
            )
        share = size // processes
        yield rows(batch, rank * share, (rank + 1) * share, size)
