"""How a shrunk model differs from the original, as plain JSON, to build it again without masks."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from latprof.compress.graph import copy_model, first_line
from latprof.compress.shrink._factored import factored, ranks_of
from latprof.compress.shrink._skip import skipped_in, without
from latprof.errors import UsageError
from latprof.vocabulary import checksum

__all__ = ["load_shrunk", "read_recipe", "recipe_of"]

# format history: 1 - shapes of the tensors and values of the attributes that differ
#                 2 - ranks of the layers that became two
#                 3 - residual blocks that were dropped
#                 4 - a checksum of all of these
_VERSION = 4
_CHECKED = ("latprof_recipe", "model", "tensors", "attributes", "ranks", "dropped")


def recipe_of(model: nn.Module, small: nn.Module) -> dict[str, Any]:
    """JSON-ready differences in size between a model and its shrunk copy."""
    dropped, ranks = skipped_in(model, small), ranks_of(model, small)
    model = _rebuilt(model, dropped, ranks)
    shapes = {name: list(t.shape) for name, t in _tensors(model)}
    attributes: dict[str, dict[str, Any]] = {}
    for path, module in small.named_modules():
        before = dict(_sizes(model.get_submodule(path)))
        changed = {k: v for k, v in _sizes(module) if before.get(k) != v}
        if changed:
            attributes[path] = changed
    recipe = {
        "latprof_recipe": _VERSION,
        "model": type(model).__name__,
        "tensors": {n: list(t.shape) for n, t in _tensors(small) if shapes[n] != list(t.shape)},
        "attributes": attributes,
        "ranks": ranks,
        "dropped": dropped,
    }
    return {**recipe, "sha256": checksum(recipe)}


def load_shrunk(model: nn.Module, recipe: Mapping[str, Any] | str | Path) -> nn.Module:
    """A copy of the model at the recipe's sizes, ready for the shrunk model's state dict.

    Args:
        model: of the original architecture, at full size; its weights do not matter.
        recipe: from ``recipe_of``, or a JSON file of it.

    Raises:
        UsageError: the recipe cannot be read, is damaged, or is of another model.
    """
    if not isinstance(recipe, Mapping):
        recipe = read_recipe(Path(recipe))
    _check(recipe)
    try:
        return _resized(_rebuilt(model, recipe.get("dropped", []), recipe.get("ranks", {})), recipe)
    except UsageError:
        raise
    except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as exc:
        raise UsageError(f"recipe of {recipe['model']}: {first_line(exc)}") from exc


def _resized(model: nn.Module, recipe: Mapping[str, Any]) -> nn.Module:
    tensors, memo = dict(_tensors(model)), {}
    for name, shape in recipe["tensors"].items():
        old = tensors.get(name)
        if (
            old is None
            or old.ndim != len(shape)
            or any(n > o for n, o in zip(shape, old.shape, strict=True))
        ):
            found = "none" if old is None else tuple(old.shape)
            raise UsageError(
                f"recipe of {recipe['model']}: {name} is {found} in this {type(model).__name__}; "
                f"expected one that {tuple(shape)} fits into"
            )
        new = old.detach()[tuple(slice(n) for n in shape)].clone()
        memo[id(old)] = (
            nn.Parameter(new, old.requires_grad) if isinstance(old, nn.Parameter) else new
        )
    small = copy_model(model, memo)
    for path, changes in recipe["attributes"].items():
        module = small.get_submodule(path)
        known = dict(_sizes(module))
        for name, value in changes.items():
            if name not in known or type(known[name]) is not type(value):
                raise UsageError(
                    f"recipe of {recipe['model']}: {path or 'the model'} has no size {name!r}"
                )
            setattr(module, name, tuple(value) if isinstance(value, list) else value)
    return small


def _check(recipe: Mapping[str, Any]) -> None:
    """The recipe holds what it should, and what was written."""
    version = recipe.get("latprof_recipe")
    if type(version) is not int or not 1 <= version <= _VERSION:
        raise UsageError(f"recipe version is {version!r}; expected at most {_VERSION}")
    dropped = recipe.get("dropped", [])
    attributes = recipe.get("attributes")
    parts = {
        "model": isinstance(recipe.get("model"), str),
        "tensors": isinstance(recipe.get("tensors"), dict)
        and all(isinstance(v, list) and _is_size(v) for v in recipe["tensors"].values()),
        "attributes": isinstance(attributes, dict)
        and all(
            isinstance(changes, dict) and all(map(_is_size, changes.values()))
            for changes in attributes.values()
        ),
        "ranks": isinstance(recipe.get("ranks", {}), dict)
        and all(type(v) is int and v > 0 for v in recipe.get("ranks", {}).values()),
        "dropped": isinstance(dropped, list) and all(isinstance(name, str) for name in dropped),
    }
    if wrong := [name for name, fine in parts.items() if not fine]:
        raise UsageError(f"recipe holds {wrong[0]} that recipe_of does not write; shrink again")
    if version >= 4 or "sha256" in recipe:
        checked = {name: recipe[name] for name in _CHECKED if name in recipe}
        if recipe.get("sha256") != checksum(checked):
            raise UsageError(
                f"recipe of {recipe['model']} is damaged: its checksum does not fit; shrink again"
            )


def _is_size(value: Any) -> bool:
    """A whole number, or a list of them."""
    if isinstance(value, list):
        return all(type(v) is int for v in value)
    return type(value) is int


def _rebuilt(model: nn.Module, dropped: Sequence[str], ranks: Mapping[str, int]) -> nn.Module:
    """The model, or a copy of it without these blocks and with these layers as two."""
    return factored(without(copy_model(model), dropped), ranks) if dropped or ranks else model


def _tensors(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from model.named_parameters(remove_duplicate=False)
    yield from model.named_buffers(remove_duplicate=False)


def _sizes(module: nn.Module) -> Iterator[tuple[str, Any]]:
    """Whole numbers a module keeps beside its tensors, alone or as a tuple."""
    for name, value in vars(module).items():
        if type(value) is int:
            yield name, value
        elif (
            isinstance(value, (tuple, torch.Size)) and value and all(type(v) is int for v in value)
        ):
            yield name, list(value)


def read_recipe(path: Path) -> Mapping[str, Any]:
    """What a JSON file holds, unchecked.

    Raises:
        UsageError: it cannot be read, or holds no object.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as exc:
        raise UsageError(f"recipe {path} cannot be read: {first_line(exc)}") from exc
    if not isinstance(found, Mapping):
        raise UsageError(f"recipe {path} holds {type(found).__name__}; expected an object")
    return found
