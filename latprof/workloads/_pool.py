"""Pooling."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from latprof.workloads._tied_workload import TiedWorkload
from latprof.workloads._workload import DTYPE_BYTES

__all__ = ["POOL_OPS", "Pool"]

POOL_OPS = ("avg", "global_avg", "max")


@dataclass(frozen=True)
class Pool(TiedWorkload):
    """Pooling of (batch, c, h, w); ``global_avg`` ignores kernel and stride and gives 1x1."""

    op: str
    h: int
    w: int
    c: int
    kernel: int = 1
    stride: int = 1
    batch: int = 1
    dtype: str = "float32"
    kind: ClassVar[str] = "pool"

    def __post_init__(self) -> None:
        self._require_positive("h", "w", "c", "kernel", "stride", "batch")
        self._require_dtype()
        self._require_op(self.op, POOL_OPS)

    @property
    def padding(self) -> int:
        return (self.kernel - 1) // 2

    @property
    def h_out(self) -> int:
        return self._out(self.h)

    @property
    def w_out(self) -> int:
        return self._out(self.w)

    def _out(self, size: int) -> int:
        if self.op == "global_avg":
            return 1
        return (size + 2 * self.padding - self.kernel) // self.stride + 1

    @property
    def activation_bytes(self) -> int:
        elements = self.c * (self.h * self.w + self.h_out * self.w_out)
        return self.batch * elements * DTYPE_BYTES[self.dtype]

    @property
    def _op(self) -> str:
        return f"pool.{self.op}"
