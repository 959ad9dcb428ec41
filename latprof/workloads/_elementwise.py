"""Ops that keep the shape of a map, and the mean of each token."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from latprof.workloads._tied_workload import TiedWorkload
from latprof.workloads._workload import DTYPE_BYTES

__all__ = ["ELEMENTWISE_OPS", "Elementwise"]

#: ``scale`` multiplies a (c, h, w) map by a (c, 1, 1) vector, as squeeze-excite does;
#: ``add`` and ``mul`` read two full maps; the rest read one.
ELEMENTWISE_OPS = (
    "add", "embedding", "gelu", "hard_sigmoid", "hard_swish", "layer_norm", "mean", "mul", "neg",
    "relu", "relu6", "rsqrt", "scale", "sigmoid", "silu", "softmax", "square", "tanh",
)  # fmt: skip


@dataclass(frozen=True)
class Elementwise(TiedWorkload):
    """An op that keeps the shape (batch, c, h, w); see ELEMENTWISE_OPS.

    Token maps (batch, tokens, c) are written with h = tokens and w = 1. ``layer_norm``
    normalizes over c, and ``mean`` leaves one number of it for each token: RMSNorm is written with
    it, ``square``, ``rsqrt`` and ``scale``. ``softmax`` is over w, as for attention scores of c
    heads, h queries, w keys. ``embedding`` looks up c numbers for each token's id.
    """

    op: str
    h: int
    w: int
    c: int
    batch: int = 1
    dtype: str = "float32"
    kind: ClassVar[str] = "elementwise"

    def __post_init__(self) -> None:
        self._require_positive("h", "w", "c", "batch")
        self._require_dtype()
        self._require_op(self.op, ELEMENTWISE_OPS)

    @property
    def weight_count(self) -> int:
        return 2 * self.c if self.op == "layer_norm" else 0

    @property
    def activation_bytes(self) -> int:
        full = self.c * self.h * self.w
        read = (
            full * 2 if self.op in ("add", "mul") else full + (self.c if self.op == "scale" else 0)
        )
        written = self.h * self.w if self.op == "mean" else full
        return self.batch * (read + written) * DTYPE_BYTES[self.dtype]

    @property
    def _op(self) -> str:
        return f"elementwise.{self.op}"
