"""2-D convolutions."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import ClassVar, Self

from latprof.errors import UsageError
from latprof.workloads._workload import DTYPE_BYTES, Workload

__all__ = ["Conv2d"]


@dataclass(frozen=True)
class Conv2d(Workload):
    """2-D convolution with bias; batch norm counts as folded into it.

    Input (batch, c_in, h, w), square kernel, padding ``dilation * (kernel - 1) // 2`` on each side.
    ``groups == c_in == c_out`` is a depthwise convolution.
    """

    h: int
    w: int
    c_in: int
    c_out: int
    kernel: int = 1
    stride: int = 1
    groups: int = 1
    dilation: int = 1
    batch: int = 1
    dtype: str = "float32"
    kind: ClassVar[str] = "conv2d"

    def __post_init__(self) -> None:
        self._require_positive(
            "h", "w", "c_in", "c_out", "kernel", "stride", "groups", "dilation", "batch"
        )
        self._require_dtype()
        if self.c_in % self.groups or self.c_out % self.groups:
            raise UsageError(
                f"conv2d: groups is {self.groups}, which divides not both c_in {self.c_in} "
                f"and c_out {self.c_out}"
            )

    @property
    def depthwise(self) -> bool:
        return self.groups > 1 and self.groups == self.c_in == self.c_out

    @property
    def tied(self) -> bool:
        return self.depthwise

    @property
    def channels(self) -> tuple[int, int]:
        return self.c_in, self.c_out

    def with_channels(self, c_in: int, c_out: int) -> Self:
        if not self.depthwise:
            return dataclasses.replace(self, c_in=c_in, c_out=c_out)
        self._require_tied(c_in, c_out)
        return dataclasses.replace(self, c_in=c_in, c_out=c_out, groups=c_out)

    @property
    def padding(self) -> int:
        return self.dilation * (self.kernel - 1) // 2

    @property
    def h_out(self) -> int:
        return self._out(self.h)

    @property
    def w_out(self) -> int:
        return self._out(self.w)

    def _out(self, size: int) -> int:
        return (size + 2 * self.padding - self.dilation * (self.kernel - 1) - 1) // self.stride + 1

    @property
    def macs(self) -> int:
        per_pixel = self.c_out * (self.c_in // self.groups) * self.kernel**2
        return self.batch * self.h_out * self.w_out * per_pixel

    @property
    def weight_count(self) -> int:
        return self.c_out * (self.c_in // self.groups) * self.kernel**2 + self.c_out

    @property
    def activation_bytes(self) -> int:
        elements = self.c_in * self.h * self.w + self.c_out * self.h_out * self.w_out
        return self.batch * elements * DTYPE_BYTES[self.dtype]

    @property
    def _op(self) -> str:
        grouping = ".depthwise" if self.depthwise else ".grouped" if self.groups > 1 else ""
        return f"conv2d{grouping}.k{self.kernel}"
