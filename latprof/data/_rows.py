"""Rows of data that has a name: each is loaded when it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from latprof.compress.train import row_error
from latprof.errors import LatprofError, UsageError

__all__ = ["Rows", "check_labels"]


class Rows(Dataset[Any]):
    """Some of the rows of a table or a folder.

    Args:
        chosen: their numbers.
        labels: of all rows, (N,): class numbers, or targets of a regression.
        prepare: from a row's number to what the network takes.
        is_text: items are dicts with ``labels``; else (inputs, label).
        name: of the data, for errors.
    """

    def __init__(
        self,
        chosen: Sequence[int],
        labels: np.ndarray,
        prepare: Callable[[int], Any],
        *,
        is_text: bool = False,
        name: str = "data",
    ) -> None:
        self._chosen, self.labels = list(chosen), labels
        self._prepare, self._is_text, self._name = prepare, is_text, name

    def __len__(self) -> int:
        return len(self._chosen)

    def __getitem__(self, row: int) -> Any:
        place = self._chosen[row]
        try:
            inputs, label = self._prepare(place), torch.tensor(self.labels[place])
        except LatprofError:
            raise
        except Exception as exc:
            raise row_error(f"{self._name}: row {place}", exc) from exc
        return {**inputs, "labels": label} if self._is_text else (inputs, label)


def check_labels(data: Any, classes: int, what: str) -> None:
    """Refuse a label that the network has no output for; of data whose labels are not at hand
    nothing is said.

    Args:
        data: ``Rows``, or a DataLoader of them.
        classes: outputs of the network.
        what: name of the data.

    Raises:
        UsageError: a label out of range, by its row.
    """
    labels = getattr(getattr(data, "dataset", data), "labels", None)
    if labels is None or not np.issubdtype(np.asarray(labels).dtype, np.integer):
        return
    wrong = np.flatnonzero((labels >= classes) | ((labels < 0) & (labels != -100)))
    if len(wrong):
        raise UsageError(
            f"{what}: row {wrong[0]} has label {labels[wrong[0]]}; expected 0 to {classes - 1}, "
            f"for the network has {classes} outputs: set classes = {int(labels.max()) + 1}, or "
            "mend the labels"
        )
