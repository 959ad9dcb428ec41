"""A model's example inputs at another number of tokens."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils import _pytree as pytree

from latprof.errors import UsageError

__all__ = ["with_tokens"]


def with_tokens(example_inputs: Any, seq: int, spec: str) -> Any:
    """The same inputs with ``seq`` tokens: every tensor (batch, tokens) of whole numbers or of
    truths, cut, or with its last token repeated. The others stay.

    Args:
        example_inputs: a tensor, tuple or dict.
        seq: tokens, at least 1.
        spec: the MODEL, for messages.

    Raises:
        UsageError: no input holds tokens.

    Example:
        >>> with_tokens({"input_ids": torch.tensor([[7, 8]])}, 3, "m")["input_ids"]
        tensor([[7, 8, 8]])
    """
    if seq < 1:
        raise UsageError(f"seq is {seq}; expected a whole number of tokens >= 1")
    leaves, structure = pytree.tree_flatten(example_inputs)
    if not any(map(_holds_tokens, leaves)):
        raise UsageError(
            f"MODEL {spec} takes no tokens: no input is a tensor (batch, tokens) of whole numbers; "
            "leave seq out"
        )
    resized = [_resized(leaf, seq) if _holds_tokens(leaf) else leaf for leaf in leaves]
    return pytree.tree_unflatten(resized, structure)


def _holds_tokens(leaf: Any) -> bool:
    return isinstance(leaf, torch.Tensor) and leaf.ndim == 2 and not leaf.is_floating_point()


def _resized(tokens: torch.Tensor, seq: int) -> torch.Tensor:
    kept = tokens[:, :seq]
    return torch.cat([kept, kept[:, -1:].expand(-1, seq - kept.shape[1])], dim=1)
