"""A network without some of its residual blocks, and with gates on them while they are there."""

from __future__ import annotations

import inspect
from collections import OrderedDict
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["Skip", "gated", "skipped_in", "without"]


#: Of our hook among a module's own, which torch numbers from 0.
_KEY = -1


class Skip(nn.Identity):
    """An identity for where a block was called with more than its input (masks, positions)."""

    def forward(self, input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return input


@contextmanager
def gated(model: nn.Module, gates: Mapping[str, Tensor | float]) -> Iterator[None]:
    """Within, each named block gives x + gate * (block(x) - x): exactly x at 0, block(x) at 1."""

    def gate_on(gate: Tensor | float) -> Any:
        def hook(_: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
            weight = gate.to(output.dtype) if isinstance(gate, Tensor) else gate
            return torch.lerp(args[0].to(output.dtype), output, weight)

        return hook

    blocks = [model.get_submodule(path) for path in gates]
    own = [block._forward_hooks for block in blocks]
    try:
        for block, hooks, gate in zip(blocks, own, gates.values(), strict=True):
            # torch.compile does not follow register_forward_hook
            block._forward_hooks = OrderedDict([*hooks.items(), (_KEY, gate_on(gate))])
        yield
    finally:
        for block, hooks in zip(blocks, own, strict=True):
            block._forward_hooks = hooks


def without(model: nn.Module, paths: Collection[str]) -> nn.Module:
    """The model, changed in place: the named blocks are identities."""
    for path in paths:
        block = model.get_submodule(path)
        alone = len(inspect.signature(block.forward).parameters) == 1
        model.set_submodule(path, (nn.Identity() if alone else Skip()).train(block.training))
    return model


def skipped_in(model: nn.Module, small: nn.Module) -> list[str]:
    """The blocks that ``without`` took out of a copy of the model."""
    before = dict(model.named_modules())
    return [
        path
        for path, module in small.named_modules()
        if isinstance(module, nn.Identity) and not isinstance(before.get(path), nn.Identity)
    ]
