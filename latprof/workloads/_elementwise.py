"""Ops that keep the shape of a map."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from latprof.workloads._tied_workload import TiedWorkload
from latprof.workloads._workload import DTYPE_BYTES

__all__ = ["ELEMENTWISE_OPS", "Elementwise"]

#: ``scale`` multiplies a (c, h, w) map by a (c, 1, 1) vector, as squeeze-excite does;
#: ``add`` and ``mul`` read two full maps; the rest read one.
ELEMENTWISE_OPS = (
    "add", "gelu", "hard_sigmoid", "hard_swish", "layer_norm", "mul", "relu", "relu6",
    "scale", "sigmoid", "silu", "softmax", "tanh",
)  # fmt: skip


@dataclass(frozen=True)
class Elementwise(TiedWorkload):
    """An op that keeps the shape (batch, c, h, w); see ELEMENTWISE_OPS.

    Token maps (batch, tokens, c) are written with h = tokens and w = 1. ``layer_norm``
    normalises over c; ``softmax`` over w, as for attention scores of c heads, h queries, w keys.
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
        return self.batch * (read + full) * DTYPE_BYTES[self.dtype]

    @property
    def _op(self) -> str:
        return f"elementwise.{self.op}"
