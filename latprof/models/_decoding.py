"""A causal language model's step that makes one token, the others' keys and values in a cache."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor, nn

from latprof.compress import trace
from latprof.compress.graph import Graph, Inputs, copy_model, decoding_graph, evaluating
from latprof.errors import UsageError
from latprof.models._tokens import with_tokens

__all__ = ["DecodingStep", "decoding_step", "graph_of_step"]

#: Of the argument, and of the output, that holds the cache; transformers renamed it.
_NAMES = ("cache", "past_key_values")


class DecodingStep(nn.Module):
    """One new token by its id, (B, 1), and all others by their keys and values, each (B, H, N, D),
    layer by layer; to its logits and the keys and values of the next step, (B, H, N + 1, D). All
    flat, as a file has them.

    Args:
        model: of transformers, with a cache of one key and one value per layer.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        taken = inspect.signature(model.forward).parameters
        self.argument = next((name for name in _NAMES if name in taken), _NAMES[-1])

    def forward(self, input_ids: Tensor, *past: Tensor) -> tuple[Tensor, ...]:
        from transformers import DynamicCache

        cache = DynamicCache()
        for layer, (keys, values) in enumerate(zip(past[::2], past[1::2], strict=True)):
            cache.update(keys, values, layer)
        made = self.model(input_ids=input_ids, use_cache=True, **{self.argument: cache})
        return (made.logits, *_flat(_cache_of(made)))


def decoding_step(model: nn.Module, example_inputs: Any, tokens: int) -> tuple[nn.Module, Any]:
    """The step that makes the last of so many tokens, and its example inputs.

    Args:
        model: a causal language model of transformers.
        example_inputs: with ``input_ids``, or ids alone.
        tokens: the new one and those in the cache, at least 2.

    Raises:
        UsageError: the model keeps no cache.

    Example:
        >>> step, inputs = decoding_step(model, {"input_ids": ids}, 512)  # doctest: +SKIP
        >>> latprof.export(step, inputs, "decode.onnx")                    # doctest: +SKIP
    """
    name = type(model).__name__
    if tokens < 2:
        raise UsageError(f"decode({tokens}): expected at least 2 tokens, one of them in the cache")
    given = Inputs.of(with_tokens(example_inputs, tokens - 1, name))
    whole = Inputs.of(with_tokens(example_inputs, tokens, name))
    ids = whole.kwargs.get("input_ids", whole.leaves[0])
    with torch.no_grad(), evaluating(model):
        try:
            made = model(*given.args, **given.kwargs, use_cache=True)
        except TypeError as exc:
            raise UsageError(_no_cache(name)) from exc
    cache = _cache_of(made)
    if cache is None or not hasattr(cache, "layers"):
        raise UsageError(_no_cache(name))
    return DecodingStep(copy_model(model).eval()), (ids[:, -1:], *_flat(cache))


def graph_of_step(model: nn.Module, example_inputs: Any, tokens: int) -> Graph:
    """What the model computes for the last of so many tokens, the others in a cache.

    Raises:
        UsageError: it takes no tokens, or is not computed token by token.
    """
    spec = type(model).__name__
    graph, longer = (
        trace(model, with_tokens(example_inputs, n, spec)) for n in (tokens, 2 * tokens)
    )
    return decoding_graph(graph, longer, tokens)


def _no_cache(name: str) -> str:
    return (
        f"decode: {name} keeps no cache of keys and values; expected a causal language model of "
        "transformers"
    )


def _cache_of(made: Any) -> Any:
    return next((c for c in (getattr(made, name, None) for name in _NAMES) if c is not None), None)


def _flat(cache: Any) -> tuple[Tensor, ...]:
    return tuple(t for layer in cache.layers for t in (layer.keys, layer.values))
