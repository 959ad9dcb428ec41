"""Settings of every runtime on a GPU, their values checked before. Part of the agent."""

from __future__ import annotations

import os
from dataclasses import dataclass

from latprof.workloads import Workload

__all__ = ["GpuSettings"]


@dataclass(frozen=True)
class GpuSettings:
    """Settings that make another target.

    Args:
        precision: ``float32``; ``tf32``, which rounds float32 operands to 10 bits on the tensor
            cores; ``float16``, which turns float32 workloads into halves.
        cache: ``hot`` (each call finds the last one's data in L2) or ``cold`` (L2 flushed).
        layout: of maps.
    """

    precision: str = "float32"
    cache: str = "hot"
    layout: str = "nchw"

    def forbid_tf32(self) -> None:
        """Unless asked for. NVIDIA's libraries use TF32 on their own; read when they load."""
        if self.precision != "tf32":
            os.environ["NVIDIA_TF32_OVERRIDE"] = "0"

    @property
    def cold(self) -> bool:
        return self.cache == "cold"

    def workload(self, workload: Workload) -> Workload:
        """As this precision runs it."""
        if self.precision == "float16" and workload.dtype == "float32":
            return workload.with_dtype("float16")
        return workload

    def to_dict(self) -> dict[str, str]:
        """For the target; its precision has a field of its own there."""
        return {"cache": self.cache, "layout": self.layout}
