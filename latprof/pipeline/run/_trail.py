"""A series of smaller and smaller networks that one run leaves behind, to pick from."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
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
from latprof.compress.train import LABELS, load_state, save_state
from latprof.errors import UsageError
from latprof.pipeline.run._processes import is_first

__all__ = ["FINE_TUNED", "Levels", "Trail", "load_small", "recalibrated"]

#: Ends the name of a network of the trail that was fine-tuned.
FINE_TUNED = "-fine-tuned"
#: Batches that batch norm is recalibrated with.
_BATCHES = 50


class Levels:
    """States of a Compressor, saved as its masks pass each level.

    Args:
        folder: gets ``1.state`` and so on; weights, masks and importances of each.
        comp: whose masks go down.
        number: of levels, evenly on the way to the budgets; the last is level ``number``.
        of: what the way is divided by, by default ``number``: the last level is the budgets.
    """

    def __init__(
        self, folder: Path, comp: Compressor, number: int, *, of: int | None = None
    ) -> None:
        self._folder, self._comp = folder, comp
        self.ways = {k: k / (of or number) for k in range(1, number + 1)}
        if number:
            folder.mkdir(parents=True, exist_ok=True)

    def see(self, on_level: Callable[[int, float], object] = lambda number, way: None) -> None:
        """Save what was passed for the first time; a run that goes on saves nothing twice.

        Args:
            on_level: called before a level is saved, with its number and its share of the way.
        """
        if not is_first():
            return
        for number, way in self.ways.items():
            if self.path(number).exists():
                continue
            if self._comp.budget_ratio(way) > 1:
                return
            on_level(number, way)
            save_state(self.path(number), {"compressor": self._comp.state_dict()})

    def take(self, ways: Sequence[float]) -> None:
        """Bring the Compressor to this share of the way to each of its budgets, its masks fixed
        there: from the state of the last level above all of them, or of the first.

        Raises:
            UsageError: no level was passed.
        """
        passed = [number for number in self.ways if self.path(number).exists()]
        if not passed:
            raise UsageError(
                f"the masks of {self._comp.method!r} passed no level; expected more epochs of masks"
            )
        above = [number for number in passed if self.ways[number] <= min(ways)]
        state = load_state(self.path(max(above, default=min(passed))), "cpu")
        self._comp.load_state_dict(state["compressor"])
        deepest = max(ways)
        with self._comp.goals.along([way / deepest for way in ways]):
            self._comp.fix(deepest)

    def path(self, number: int) -> Path:
        """The state of a level."""
        return self._folder / f"{number}.state"


class Trail:
    """Saves a network each time the masks reach the next level between the original and the budget.

    Args:
        folder: gets ``1.json`` and ``1.safetensors`` to ``number``, see ``save_shrunk``, and the
            masks and weights of each, ``1.state``.
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
        self._levels = Levels(folder, comp, number, of=number + 1)

    def see(self) -> None:
        """Save what was reached for the first time; a run that goes on saves nothing twice."""
        self._levels.see(self._save)

    def _save(self, number: int, way: float) -> None:
        small, counts = self._comp.snapshot(way)
        recalibrated(small, self._batches)
        save_shrunk(self.folder / str(number), self._comp.model, small, **self._more, counts=counts)

    def take(self, name: str) -> None:
        """Bring the Compressor to a network of the trail, its masks fixed there.

        Args:
            name: ``trail/2``.

        Raises:
            UsageError: it was not saved, or by a version that kept no masks.
        """
        number = int(Path(name).name)
        if not self._levels.path(number).is_file():
            saved = ", ".join(self.networks(self._comp.model)) or "none"
            raise UsageError(
                f"{self._levels.path(number)}, the masks of {name}, is not there (networks saved: "
                f"{saved}); run it anew, in another folder or with more epochs of masks"
            )
        self._levels.take([self._levels.ways[number]] * len(self._comp.goals.each))

    def networks(self, model: nn.Module) -> dict[str, tuple[nn.Module, list[int]]]:
        """What was saved, by name, with its counts, from the largest; a fine-tuned one after what
        it was."""
        found = {}
        for number, ending in itertools.product(self._levels.ways, ("", FINE_TUNED)):
            stem = self.folder / f"{number}{ending}"
            if is_saved(stem):
                found[f"{self.folder.name}/{stem.name}"] = load_small(model, stem)
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
