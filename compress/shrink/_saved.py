"""A shrunk network in files: its recipe as JSON, and its weights as safetensors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from latprof.compress.graph import first_line
from latprof.compress.shrink._recipe import load_shrunk, read_recipe, recipe_of
from latprof.errors import UsageError
from latprof.vocabulary import replace_file, require

__all__ = ["is_saved", "load_saved", "save_shrunk"]

#: Of the former version, which torch.save wrote.
_OLD_WEIGHTS = ".pt"
_WEIGHTS = ".safetensors"


def save_shrunk(path: str | Path, model: nn.Module, small: nn.Module, **more: Any) -> None:
    """Write ``PATH.json``, the recipe, and ``PATH.safetensors``, the weights; the weights last.

    Args:
        path: without a suffix, as ``latprof.load_shrunk`` takes it.
        model: the original, whole.
        small: what ``shrink`` made of it.
        more: JSON-ready values that are kept beside the recipe.

    Raises:
        MissingExtraError: safetensors is not installed.

    Example:
        >>> latprof.save_shrunk("small", model, comp.shrink())  # doctest: +SKIP
        >>> again = latprof.load_shrunk(model, "small")         # doctest: +SKIP
    """
    stem = Path(path)
    recipe = {**recipe_of(model, small), **more}
    replace_file(stem.with_suffix(".json"), (json.dumps(recipe) + "\n").encode())
    library = require("safetensors.torch", extra="train", why="saving a shrunk network")
    # Tensors may be views of one another, which the format does not hold.
    state = {name: t.detach().cpu().contiguous().clone() for name, t in small.state_dict().items()}
    replace_file(stem.with_suffix(_WEIGHTS), library.save(state, {"format": "pt"}))


def is_saved(stem: Path) -> bool:
    """Whether ``save_shrunk`` came to its end here."""
    return any(stem.with_suffix(suffix).exists() for suffix in (_WEIGHTS, _OLD_WEIGHTS))


def load_saved(model: nn.Module, stem: Path) -> tuple[nn.Module, Mapping[str, Any]]:
    """The network that ``save_shrunk`` wrote, in eval mode, and its recipe with what is beside it.

    Args:
        model: of the original architecture, at full size; its weights do not matter.

    Raises:
        UsageError: a file is missing, damaged, or of another model.
    """
    recipe = read_recipe(stem.with_suffix(".json"))
    small = load_shrunk(model, recipe)
    path = stem.with_suffix(_WEIGHTS)
    try:
        small.load_state_dict(_weights(path))
    except Exception as exc:  # the error type of safetensors is not public
        raise UsageError(f"weights {path} cannot be loaded: {first_line(exc)}") from exc
    return small.eval(), recipe


def _weights(path: Path) -> Mapping[str, Any]:
    old = path.with_suffix(_OLD_WEIGHTS)
    if not path.exists() and old.exists():
        state: Mapping[str, Any] = torch.load(old, map_location="cpu", weights_only=True)
        return state
    library = require("safetensors.torch", extra="train", why=f"weights {path}")
    found: Mapping[str, Any] = library.load_file(path)
    return found
