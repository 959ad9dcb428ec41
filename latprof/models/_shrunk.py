"""A shrunk network again: from a folder, a hub's repository, or a recipe."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from latprof.compress import load_saved, read_recipe
from latprof.compress import load_shrunk as shrunk_to
from latprof.compress.graph import first_line
from latprof.errors import UsageError
from latprof.models._load import is_named, load_model
from latprof.vocabulary import SHRUNK, require

__all__ = ["load_shrunk"]


def load_shrunk(
    source: nn.Module | str | Path,
    recipe: Mapping[str, Any] | str | Path | None = None,
) -> nn.Module:
    """A shrunk network, built again.

    Args:
        source: folder that ``RunResult.save_pretrained`` wrote, path that ``save_shrunk`` took,
            or name of a repository on the Hugging Face hub that ``RunResult.push_to_hub`` made; or
            a model of the original architecture, at full size, whose weights do not matter.
        recipe: with a model: one of these; or the structure alone: from ``recipe_of``, or a JSON
            file of it.

    Returns:
        In eval mode with its weights; of a structure alone, ready for the shrunk network's state
        dict.

    Raises:
        UsageError: a file is missing, damaged, or of another model; or the original was built by
            code of your own, and is to be given.

    Example:
        >>> small = latprof.load_shrunk("small/")            # doctest: +SKIP
        >>> small = latprof.load_shrunk(MyNet(), "small/")   # doctest: +SKIP
    """
    if isinstance(source, nn.Module):
        if recipe is None:
            raise UsageError("recipe is not given; expected load_shrunk(model, folder)")
        if isinstance(recipe, Mapping) or Path(recipe).suffix == ".json":
            return shrunk_to(source, recipe)
        return load_saved(source, _stem(recipe))[0]
    if recipe is not None:
        raise UsageError("a recipe is for a model: load_shrunk(model, recipe)")
    stem = _stem(source)
    return load_saved(_original(read_recipe(stem.with_suffix(".json")), source), stem)[0]


def _original(recipe: Mapping[str, Any], place: str | Path) -> nn.Module:
    """Built by the library that names it; a file's own code is never run."""
    source = recipe.get("source") or {}
    name, classes = source.get("model"), source.get("classes")
    if not isinstance(name, str) or not is_named(name) or type(classes) not in (int, type(None)):
        raise UsageError(
            f"{place} holds a network made of {recipe.get('model')}, which code of your own "
            "builds; give it: load_shrunk(model, folder)"
        )
    return load_model(name, classes=classes)[0]


def _stem(place: str | Path) -> Path:
    """Of the files in a folder, or beside one another; of a repository's name, what the hub has."""
    path = Path(place)
    if path.is_dir():
        return path / SHRUNK
    if path.with_suffix(".json").is_file():
        return path
    if not isinstance(place, str) or place.count("/") != 1 or place.startswith((".", "/")):
        raise UsageError(f"{place} is not there; expected a folder that save_pretrained wrote")
    hub = require("huggingface_hub", extra="hub", why=f"the repository {place}")
    try:
        return Path(hub.snapshot_download(place, allow_patterns=[f"{SHRUNK}.*"])) / SHRUNK
    except Exception as exc:  # of the network, of rights, of names
        raise UsageError(f"{place} is no folder, and the hub gives: {first_line(exc)}") from exc
