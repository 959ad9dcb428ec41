"""A series of smaller and smaller networks that one run leaves behind, to pick from."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from latprof.compress import Batches, Compressor, load_shrunk, recalibrate, recipe_of
from latprof.compress.train import LABELS
from latprof.vocabulary import replace_file

__all__ = ["Trail", "load_small", "save_small"]

#: Batches that batch norm is recalibrated with.
_BATCHES = 50


class Trail:
    """Saves a network each time the masks reach the next level between the original and the budget.

    Args:
        folder: gets ``1.json`` and ``1.pt`` to ``number``: recipe and weights, see ``load_small``.
        number: of levels, evenly on the way to the budgets, which are not among them.
    """

    def __init__(self, folder: Path, comp: Compressor, batches: Batches, number: int) -> None:
        self.folder, self._comp, self._batches = folder, comp, batches
        self._ways = {k: k / (number + 1) for k in range(1, number + 1)}
        if number:
            folder.mkdir(exist_ok=True)

    def see(self) -> None:
        """Save what was reached for the first time; a run that goes on saves nothing twice."""
        for number, way in self._ways.items():
            stem = self.folder / str(number)
            if not stem.with_suffix(".pt").exists() and self._comp.budget_ratio(way) <= 1:
                small, counts = self._comp.snapshot(way)
                with torch.random.fork_rng():  # training draws what it would have drawn
                    some = itertools.islice(self._batches.epoch(0), _BATCHES)
                    recalibrate(small.to("cpu"), map(_inputs_of, some))
                save_small(stem, self._comp.model, small, counts)

    def networks(self, model: nn.Module) -> dict[str, tuple[nn.Module, list[int]]]:
        """What was saved, by name, with its counts, from the largest."""
        found = {}
        for number in self._ways:
            stem = self.folder / str(number)
            if stem.with_suffix(".pt").exists():
                found[f"{self.folder.name}/{number}"] = load_small(model, stem)
        return found


def _inputs_of(batch: Any) -> Any:
    """What ``recalibrate`` takes of a batch."""
    if isinstance(batch, Mapping):
        return {name: value for name, value in batch.items() if name not in LABELS}
    return batch[0] if isinstance(batch, (tuple, list)) else batch


def save_small(stem: Path, model: nn.Module, small: nn.Module, counts: list[int]) -> None:
    """``stem``.json, the recipe and the unit counts, and ``stem``.pt, the weights."""
    recipe = {**recipe_of(model, small), "counts": counts}
    replace_file(stem.with_suffix(".json"), (json.dumps(recipe) + "\n").encode())
    part = stem.with_suffix(".part")
    torch.save(small.state_dict(), part)
    part.replace(stem.with_suffix(".pt"))


def load_small(model: nn.Module, stem: Path) -> tuple[nn.Module, list[int]]:
    """The network that ``save_small`` wrote, in eval mode, and its unit counts.

    Args:
        model: of the original architecture, at full size.
    """
    recipe: Mapping[str, Any] = json.loads(stem.with_suffix(".json").read_text())
    small = load_shrunk(model, recipe)
    small.load_state_dict(torch.load(stem.with_suffix(".pt"), weights_only=True))
    return small.eval(), list(recipe["counts"])
