"""Example inputs of a model: a tensor, a tuple of positional ones, or a dict of named ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Self

import torch
from torch import nn
from torch.utils import _pytree as pytree

from latprof.compress.graph._quiet import culprit, first_line
from latprof.errors import TraceError

__all__ = ["Inputs", "evaluating", "flat_outputs"]


@dataclass(frozen=True)
class Inputs:
    """What one forward is called with."""

    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, example: Any) -> Self:
        if isinstance(example, cls):
            return example
        if isinstance(example, torch.Tensor):
            return cls((example,))
        if isinstance(example, Mapping):
            return cls((), _each_its_own(dict(example)))
        if isinstance(example, (tuple, list)):
            return cls(_each_its_own(tuple(example)))
        raise TraceError(
            f"example inputs are {type(example).__name__}; expected a tensor, "
            "a tuple of tensors, or a dict of named tensors"
        )

    @property
    def leaves(self) -> list[torch.Tensor]:
        found = pytree.tree_leaves((self.args, self.kwargs))
        return [t for t in found if isinstance(t, torch.Tensor)]

    @property
    def rows(self) -> int:
        """Inputs of one call: the first dim of the first tensor."""
        first = next(iter(self.leaves), None)
        return int(first.shape[0]) if first is not None and first.ndim else 1

    def check(self, model: nn.Module) -> None:
        """Run the forward once.

        Raises:
            TraceError: it fails, on its own, before anything was traced.
        """
        name = type(model).__name__
        try:
            made = model(*self.args, **self.kwargs)
        except Exception as exc:
            given = ", ".join("x".join(map(str, t.shape)) for t in self.leaves) or "none"
            raise TraceError(
                f"{name}: its forward fails on the example inputs ({given})"
                f"{culprit(model, exc)}: {first_line(exc)}"
            ) from exc
        if (kind := _unknown_class(made)) is not None:
            raise TraceError(
                f"{name}: its forward returns {kind}, a class that torch does not look into; "
                f"call torch.export.register_dataclass({kind}) first, or return a tuple or a dict"
            )
        if not flat_outputs(made):
            raise TraceError(f"{name}: its forward returns no tensor; expected at least one")


def _unknown_class(outputs: Any) -> str | None:
    """Name of a class in the outputs that holds tensors where torch's pytree does not see them."""
    for leaf in pytree.tree_leaves(outputs):
        held = vars(leaf).values() if hasattr(leaf, "__dict__") else ()
        if not isinstance(leaf, (torch.Tensor, nn.Module)) and flat_outputs(list(held)):
            return type(leaf).__name__
    return None


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Eval mode within, each module's own mode after; exported programs refuse ``eval()``."""
    modes = [(m, m.training) for m in model.modules()]
    try:
        for module, _ in modes:
            module.training = False
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def flat_outputs(outputs: Any) -> list[torch.Tensor]:
    """Every floating tensor in a model's outputs, nested in tuples, dicts or output classes."""
    if isinstance(outputs, torch.Tensor):
        return [outputs]
    if isinstance(outputs, Mapping):
        outputs = list(outputs.values())
    if isinstance(outputs, (list, tuple)):
        return [t for o in outputs for t in flat_outputs(o)]
    leaves = pytree.tree_leaves(outputs)
    return [t for t in leaves if isinstance(t, torch.Tensor)]


def _each_its_own(example: Any) -> Any:
    """A tensor that stands for two inputs, as ones for tokens and for their mask, becomes two:
    torch exports it as one, which both then read."""
    seen: set[int] = set()

    def own(leaf: Any) -> Any:
        if not isinstance(leaf, torch.Tensor) or id(leaf) not in seen:
            seen.add(id(leaf))
            return leaf
        return leaf.clone()

    return pytree.tree_map(own, example)
