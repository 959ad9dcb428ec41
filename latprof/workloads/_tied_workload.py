"""What ops have in common whose channels are tied and that contract nothing."""

from __future__ import annotations

import dataclasses
from typing import Self

from latprof.workloads._workload import Workload

__all__ = ["TiedWorkload"]


class TiedWorkload(Workload):
    """An op over ``c`` channels that makes each output channel from its own input channel."""

    c: int

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
