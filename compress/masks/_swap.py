"""Other tensors in the place of a model's parameters, for as long as its forward runs."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

__all__ = ["Swap"]


class Swap:
    """What ``torch.func.functional_call`` does, without its search for shared parameters in each
    call; modules are looked up by name in each, for they may be replaced.

    Args:
        model: whose parameters there are; it is not kept.
        names: of those that may be changed; all by default.
    """

    def __init__(self, model: nn.Module, names: Collection[str] | None = None) -> None:
        firsts: dict[int, str] = {}
        self._places: dict[str, list[tuple[list[str], str]]] = {}
        for name, parameter in model.named_parameters(remove_duplicate=False):
            *path, leaf = name.split(".")
            first = firsts.setdefault(id(parameter), name)
            if names is None or first in names:
                self._places.setdefault(first, []).append((path, leaf))

    def parameters(self, model: nn.Module) -> dict[str, Tensor]:
        """Each by the first of its names."""
        firsts = ((name, *places[0]) for name, places in self._places.items())
        return {name: _owner(model, path)._parameters[leaf] for name, path, leaf in firsts}  # type: ignore[misc]

    def __call__(
        self,
        model: nn.Module,
        changed: Mapping[str, Tensor],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
    ) -> Any:
        """The model's forward with these in the place of its parameters, gradients included."""
        with self.placed(model, changed):
            return model(*args, **kwargs)

    @contextmanager
    def placed(self, model: nn.Module, changed: Mapping[str, Tensor]) -> Iterator[None]:
        """Within, these are in the place of the model's parameters."""
        places = [
            (_owner(model, path)._parameters, leaf, value)
            for name, value in changed.items()
            for path, leaf in self._places[name]
        ]
        own = [held[leaf] for held, leaf, _ in places]
        try:
            for held, leaf, value in places:
                held[leaf] = value  # type: ignore[assignment]
            yield
        finally:
            for (held, leaf, _), parameter in zip(places, own, strict=True):
                held[leaf] = parameter


def _owner(model: nn.Module, path: list[str]) -> nn.Module:
    for name in path:
        model = model._modules[name]  # type: ignore[assignment]
    return model
