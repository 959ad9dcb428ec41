"""The latency of a language model at a number of tokens, as a target of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from latprof.compress import trace
from latprof.compress.cost import Budget
from latprof.compress.graph import Graph, Inputs
from latprof.errors import UsageError
from latprof.models import decoding_step, graph_of_step, with_tokens

__all__ = ["TokenTarget", "token_targets"]


@dataclass(frozen=True)
class TokenTarget:
    """What ``prefill(N)`` or ``decode(N)`` means.

    Args:
        kind: as budgets call it.
        tokens: at once; of a step of decoding the new one and those in the cache.
        decodes: whether it is such a step.
    """

    kind: str
    tokens: int
    decodes: bool

    @property
    def name(self) -> str:
        """Of its files."""
        return f"{'decode' if self.decodes else 'prefill'}-{self.tokens}"

    def graph(self, model: nn.Module, example_inputs: Any) -> Graph:
        """What the model computes there.

        Raises:
            UsageError: it takes no tokens, or is not computed token by token.
        """
        if self.decodes:
            return graph_of_step(model, example_inputs, self.tokens)
        return trace(model, with_tokens(example_inputs, self.tokens, type(model).__name__))

    def deployed(self, model: nn.Module, example_inputs: Any) -> tuple[nn.Module, Any]:
        """What is exported and timed, and its example inputs.

        Raises:
            UsageError: it takes no tokens, or keeps no cache.
        """
        if self.decodes:
            return decoding_step(model, example_inputs, self.tokens)
        return model, with_tokens(example_inputs, self.tokens, type(model).__name__)


def token_targets(budgets: Sequence[str], example_inputs: Any) -> list[TokenTarget]:
    """Those that budgets are of.

    Where ``decode`` has no number, it is that of the longest prefill, or of the example inputs.

    Raises:
        UsageError: that number is not known.
    """
    parsed = [Budget.parse(text) for text in budgets]
    asked = {b.kind: b.of_tokens for b in parsed if b.of_tokens is not None}
    longest = max((of.tokens or 0 for of in asked.values() if not of.decodes), default=0)
    return [
        TokenTarget(kind, of.tokens or longest or _tokens_of(example_inputs), of.decodes)
        for kind, of in asked.items()
    ]


def _tokens_of(example_inputs: Any) -> int:
    rows = [t for t in Inputs.of(example_inputs).leaves if t.ndim == 2]
    if not rows:
        raise UsageError("decode: the example inputs have no tokens (batch, tokens); say decode(N)")
    return rows[0].shape[1]
