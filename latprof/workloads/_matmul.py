"""Matrix products, also with weights of few bits or in a pattern of zeros."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from latprof.errors import UsageError
from latprof.workloads._workload import DTYPE_BYTES, Workload

__all__ = ["WEIGHT_BITS", "WEIGHT_BLOCK", "WEIGHT_PATTERNS", "MatMul"]

#: Widths that weights alone may have.
WEIGHT_BITS = (2, 4, 8)
#: Neighboring inputs whose weights of few bits share a scale.
WEIGHT_BLOCK = 32
#: Zeros that kernels of some runtime skip: two of each four neighboring inputs.
WEIGHT_PATTERNS = ("2:4",)
#: Bits that say which two of four a weight is.
_PLACE_BITS = 2


@dataclass(frozen=True)
class MatMul(Workload):
    """(batch, m, k) @ (k, n) + bias with constant weights, over channels (k, n).

    With ``weights=False`` both operands are activations, (batch, m, k) @ (batch, k, n) without
    bias, as in attention. Its channels are (batch, batch): what pruning changes there is the
    number of heads, so ``batch`` ranges within a family while m, k and n stay.

    Args:
        weight_bits: of weights that are stored in 2, 4 or 8 bits, with a scale for each output or
            for each 32 neighboring inputs of one, as the runtime has them, while inputs and outputs
            stay in ``dtype``; 0: weights are of ``dtype`` too. Labels call it ``w4``: it is no
            product of integers, as int8 is.
        pattern: ``2:4`` where at most two of each four neighboring inputs of an output have a
            weight that is not 0, and the runtime stores and multiplies those two alone; ``macs``
            stay those of all weights. Empty: all are multiplied.
    """

    m: int
    k: int
    n: int
    batch: int = 1
    weights: bool = True
    dtype: str = "float32"
    weight_bits: int = 0
    pattern: str = ""
    kind: ClassVar[str] = "matmul"

    def __post_init__(self) -> None:
        self._require_positive("m", "k", "n", "batch")
        self._require_dtype()
        if self.pattern and self.pattern not in WEIGHT_PATTERNS:
            raise UsageError(f"matmul: pattern is {self.pattern!r}; expected '2:4', or none")
        if self.pattern and (self.weight_bits or not self.weights):
            raise UsageError(
                f"matmul: pattern is {self.pattern} with weight_bits={self.weight_bits} and "
                f"weights={self.weights}; expected constant weights of the product's dtype"
            )
        if not self.weight_bits:
            return
        if isinstance(self.weight_bits, bool) or self.weight_bits not in WEIGHT_BITS:
            raise UsageError(
                f"matmul: weight_bits is {self.weight_bits!r}; expected 2, 4, 8, or 0: as "
                "dtype has them"
            )
        if not self.weights or self.dtype != "float32":
            raise UsageError(
                f"matmul: weight_bits is {self.weight_bits} of {self.dtype} with weights="
                f"{self.weights}; expected constant weights and float32"
            )

    def with_weight_bits(self, bits: int) -> Self:
        """The same product with weights of so many bits; 0: of its dtype."""
        return dataclasses.replace(self, weight_bits=bits)

    def with_pattern(self, pattern: str) -> Self:
        """The same product with weights in this pattern of zeros; empty: with all of them."""
        return dataclasses.replace(self, pattern=pattern)

    def to_dict(self) -> dict[str, Any]:
        fields = super().to_dict()
        for name in ("weight_bits", "pattern"):  # as tables had it before there were any
            if not fields[name]:
                del fields[name]
        return fields

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
    def weight_bytes(self) -> int:
        if self.pattern:
            kept = self.k * self.n // 2
            return (kept + self.n) * DTYPE_BYTES[self.dtype] + kept * _PLACE_BITS // 8
        if not self.weight_bits:
            return super().weight_bytes
        codes = self.k * self.n * self.weight_bits // 8
        scales = -(-self.k // WEIGHT_BLOCK) * self.n
        return codes + (scales + self.n) * DTYPE_BYTES[self.dtype]

    @property
    def activation_bytes(self) -> int:
        operand = 0 if self.weights else self.k * self.n
        elements = self.m * self.k + self.m * self.n + operand
        return self.batch * elements * DTYPE_BYTES[self.dtype]

    @property
    def _op(self) -> str:
        if self.weight_bits:
            return f"matmul.w{self.weight_bits}"
        if self.pattern:
            return f"matmul.{self.pattern}"
        return "matmul" if self.weights else "matmul.batched"
