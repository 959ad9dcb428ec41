"""Attention as one fused kernel."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import ClassVar, Self

from latprof.errors import UsageError
from latprof.workloads._workload import DTYPE_BYTES, Workload

__all__ = ["Attention"]


@dataclass(frozen=True)
class Attention(Workload):
    """softmax(Q K^T / sqrt(d)) V of (batch, heads, queries, head_dim), in one kernel.

    Its channels are (heads, heads): what pruning changes is the number of heads. A decoding step
    is one query of many keys.

    Args:
        heads: of the queries.
        queries, keys: tokens that ask, and tokens that are asked; with a cache more keys.
        head_dim: features of a head.
        heads_per_kv: query heads that share one head of keys and values; 1 where each has its own.
        causal: each query sees the keys up to its own place; the last query sees all.
        window: a query sees this many keys at most; 0: all.

    Example:
        >>> Attention(heads=32, queries=1, keys=512, head_dim=128, heads_per_kv=4).kv_heads
        8
    """

    heads: int
    queries: int
    keys: int
    head_dim: int
    heads_per_kv: int = 1
    causal: bool = False
    window: int = 0
    batch: int = 1
    dtype: str = "float32"
    kind: ClassVar[str] = "attention"

    def __post_init__(self) -> None:
        self._require_positive("heads", "queries", "keys", "head_dim", "heads_per_kv", "batch")
        self._require_dtype()
        if self.causal and self.queries > self.keys:
            raise UsageError(
                f"attention: {self.queries} causal queries of {self.keys} keys; expected at least "
                "as many keys, for each query sees its own place"
            )
        if isinstance(self.window, bool) or not isinstance(self.window, int) or self.window < 0:
            raise UsageError(
                f"attention: window is {self.window!r}; expected a whole number of keys, or 0: all"
            )

    @property
    def kv_heads(self) -> int:
        return -(-self.heads // self.heads_per_kv)

    @property
    def pairs(self) -> int:
        """(query, key) pairs that are multiplied, of one head and one member of the batch."""
        most = min(self.window or self.keys, self.keys)
        if not self.causal:
            return self.queries * most
        first = self.keys - self.queries + 1  # keys that the first query sees
        rising = max(min(most - first, self.queries), 0)  # queries that see fewer than most
        return rising * first + rising * (rising - 1) // 2 + (self.queries - rising) * most

    @property
    def keys_read(self) -> int:
        """Keys that any query sees."""
        return min(self.keys, self.window + self.queries - 1) if self.window else self.keys

    @property
    def tied(self) -> bool:
        return True

    @property
    def channels(self) -> tuple[int, int]:
        return self.heads, self.heads

    def with_channels(self, c_in: int, c_out: int) -> Self:
        self._require_tied(c_in, c_out)
        return dataclasses.replace(self, heads=c_out)

    @property
    def channel_fields(self) -> frozenset[str]:
        return frozenset({"heads"})

    @property
    def macs(self) -> int:
        return 2 * self.batch * self.heads * self.pairs * self.head_dim

    @property
    def weight_count(self) -> int:
        return 0

    @property
    def activation_bytes(self) -> int:
        elements = 2 * self.heads * self.queries + 2 * self.kv_heads * self.keys_read
        return self.batch * elements * self.head_dim * DTYPE_BYTES[self.dtype]

    @property
    def _op(self) -> str:
        return "attention"
