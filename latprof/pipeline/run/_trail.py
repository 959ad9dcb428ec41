"""A series of smaller and smaller networks that one run leaves behind, to pick from."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from latprof.compress import (
    Batches,
    Compressor,
    is_saved,
    load_saved,
    recalibrate,
    save_shrunk,
)
from latprof.compress.train import LABELS
from latprof.pipeline.run._processes import is_first

__all__ = ["Trail", "load_small", "recalibrated"]

#: Batches that batch norm is recalibrated with.
_BATCHES = 50


class Trail:
    """Saves a network each time the masks reach the next level between the original and the budget.

    Args:
        folder: gets ``1.json`` and ``1.safetensors`` to ``number``; see ``save_shrunk``.
        number: of levels, evenly on the way to the budgets, which are not among them.
        more: what is kept beside each recipe.
    """

    def __init__(
        self,
        folder: Path,
        comp: Compressor,
        batches: Batches,
        number: int,
        more: Mapping[str, Any],
    ) -> None:
        self.folder, self._comp, self._batches, self._more = folder, comp, batches, more
        self._ways = {k: k / (number + 1) for k in range(1, number + 1)}
        if number:
            folder.mkdir(parents=True, exist_ok=True)

    def see(self) -> None:
        """Save what was reached for the first time; a run that goes on saves nothing twice."""
        for number, way in self._ways.items():
            stem = self.folder / str(number)
            if is_first() and not is_saved(stem) and self._comp.budget_ratio(way) <= 1:
                small, counts = self._comp.snapshot(way)
                recalibrated(small, self._batches)
                save_shrunk(stem, self._comp.model, small, **self._more, counts=counts)

    def networks(self, model: nn.Module) -> dict[str, tuple[nn.Module, list[int]]]:
        """What was saved, by name, with its counts, from the largest."""
        found = {}
        for number in self._ways:
            stem = self.folder / str(number)
            if is_saved(stem):
                found[f"{self.folder.name}/{number}"] = load_small(model, stem)
        return found


def recalibrated(small: nn.Module, batches: Batches) -> nn.Module:
    """The network itself, on the CPU, its batch norms set anew; for what is not fine-tuned."""
    with torch.random.fork_rng():  # training draws what it would have drawn
        some = itertools.islice(batches.epoch(0), _BATCHES)
        recalibrate(small.to("cpu"), map(_inputs_of, some))
    return small


def _inputs_of(batch: Any) -> Any:
    """What ``recalibrate`` takes of a batch."""
    if isinstance(batch, Mapping):
        return {name: value for name, value in batch.items() if name not in LABELS}
    return batch[0] if isinstance(batch, (tuple, list)) else batch


def load_small(model: nn.Module, stem: Path) -> tuple[nn.Module, list[int]]:
    """A network of a run folder, in eval mode, and its unit counts.

    Args:
        model: of the original architecture, at full size.
        stem: ``compressed`` or ``trail/1`` in the folder.

    Raises:
        UsageError: see load_saved.
    """
    small, recipe = load_saved(model, stem)
    return small, list(recipe["counts"])
