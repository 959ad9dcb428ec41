"""Pooling."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import ClassVar, Self

from latprof.workloads._workload import DTYPE_BYTES, Workload

__all__ = ["POOL_OPS", "Pool"]

POOL_OPS = ("avg", "global_avg", "max")


@dataclass(frozen=True)
class Pool(Workload):
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
    def tied(self) -> bool:
        return True

    @property
    def channels(self) -> tuple[int, int]:
        return self.c, self.c

    def with_channels(self, c_in: int, c_out: int) -> Self:
        self._require_tied(c_in, c_out)
        return dataclasses.replace(self, c=c_out)

    @property
    def macs(self) -> int:
        return 0  # by the field's convention only contractions count

    @property
    def weight_count(self) -> int:
        return 0

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
