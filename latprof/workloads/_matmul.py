"""Matrix products."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import ClassVar, Self

from latprof.workloads._workload import DTYPE_BYTES, Workload

__all__ = ["MatMul"]


@dataclass(frozen=True)
class MatMul(Workload):
    """(batch, m, k) @ (k, n) + bias with constant weights, over channels (k, n).

    With ``weights=False`` both operands are activations, (batch, m, k) @ (batch, k, n) without
    bias, as in attention. Its channels are (batch, batch): what pruning changes there is the
    number of heads, so ``batch`` ranges within a family while m, k and n stay.
    """

    m: int
    k: int
    n: int
    batch: int = 1
    weights: bool = True
    dtype: str = "float32"
    kind: ClassVar[str] = "matmul"

    def __post_init__(self) -> None:
        self._require_positive("m", "k", "n", "batch")
        self._require_dtype()

    @property
    def tied(self) -> bool:
        return not self.weights

    @property
    def channels(self) -> tuple[int, int]:
        return (self.k, self.n) if self.weights else (self.batch, self.batch)

    def with_channels(self, c_in: int, c_out: int) -> Self:
        if self.weights:
            return dataclasses.replace(self, k=c_in, n=c_out)
        self._require_tied(c_in, c_out)
        return dataclasses.replace(self, batch=c_out)

    @property
    def channel_fields(self) -> frozenset[str]:
        return frozenset({"k", "n"} if self.weights else {"batch"})

    @property
    def macs(self) -> int:
        return self.batch * self.m * self.k * self.n

    @property
    def weight_count(self) -> int:
        return self.k * self.n + self.n if self.weights else 0

    @property
    def activation_bytes(self) -> int:
        operand = 0 if self.weights else self.k * self.n
        elements = self.m * self.k + self.m * self.n + operand
        return self.batch * elements * DTYPE_BYTES[self.dtype]

    @property
    def _op(self) -> str:
        return "matmul" if self.weights else "matmul.batched"
