"""Workloads: one op at one shape, as pure data.

A workload knows its arithmetic (MACs, bytes) and its channels, and nothing of how it is
measured. Every kind has the same two channel axes, so that a network's workloads can be
re-counted together when its channel groups shrink.
"""

from __future__ import annotations

import dataclasses
import functools
from abc import ABC, abstractmethod
from dataclasses import Field
from typing import Any, ClassVar, Self

from latprof.errors import UsageError

__all__ = ["DTYPE_BYTES", "Workload"]

DTYPE_BYTES = {
    "float32": 4, "float16": 2, "int8": 1, "bfloat16": 2, "float64": 8, "int16": 2, "uint8": 1,
}  # fmt: skip


class Workload(ABC):
    """One op at one shape. Laws, tested for every kind:

    ``workload_from_dict(w.to_dict()) == w``; ``w.with_channels(*w.channels) == w``;
    ``family`` does not change under ``with_channels``; MACs and bytes are non-negative and
    do not fall when a channel count grows.
    """

    kind: ClassVar[str]
    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]  # each kind is a frozen dataclass

    @property
    @abstractmethod
    def batch(self) -> int:
        """Members of the batch; of an attention product, heads."""

    @property
    @abstractmethod
    def dtype(self) -> str:
        """What it is computed in, one of DTYPE_BYTES."""

    @property
    def groups(self) -> int:
        """Of a convolution; 1 elsewhere."""
        return 1

    @property
    def depthwise(self) -> bool:
        """Whether it is a convolution with one filter per channel."""
        return False

    @property
    @abstractmethod
    def channels(self) -> tuple[int, int]:
        """(c_in, c_out): the two counts that pruning changes."""

    @abstractmethod
    def with_channels(self, c_in: int, c_out: int) -> Self:
        """The same op over other channel counts; c_in must equal c_out where channels are tied."""

    @property
    @abstractmethod
    def tied(self) -> bool:
        """True where each output channel is made from its own input channel alone."""

    @property
    @abstractmethod
    def macs(self) -> int:
        """Multiply-accumulates."""

    @property
    @abstractmethod
    def weight_count(self) -> int:
        """Stored parameters, bias included."""

    @property
    @abstractmethod
    def activation_bytes(self) -> int:
        """Bytes read and written besides the weights."""

    @functools.cached_property
    def label(self) -> str:
        """What kind of op this is, without any size: ``conv2d.k1``, ``elementwise.add``,
        ``matmul.int8``. Kernels are written per label, and so latency laws are."""
        return self._op if self.dtype == "float32" else f"{self._op}.{self.dtype}"

    @property
    @abstractmethod
    def _op(self) -> str:
        """The label of its float32 form."""

    @functools.cached_property
    def family(self) -> str:
        """Everything but the channel counts: workloads of one family share one latency law."""
        varying = self.channel_fields | {"kind"}
        rest = (f"{k}={v}" for k, v in self.to_dict().items() if k not in varying)
        return f"{self.label}({', '.join(rest)})"

    @property
    def channel_fields(self) -> frozenset[str]:
        """Names of the fields that change within a family."""
        return frozenset({"c", "c_in", "c_out"} | ({"groups"} if self.tied else set()))

    @property
    def weight_bytes(self) -> int:
        return self.weight_count * DTYPE_BYTES[self.dtype]

    def with_dtype(self, dtype: str) -> Self:
        """The same op computed in ``dtype``, one of DTYPE_BYTES."""
        return dataclasses.replace(self, dtype=dtype)

    def to_dict(self) -> dict[str, Any]:
        """``{"kind": ..., field: value, ...}``; JSON-ready, inverse of workload_from_dict."""
        return {"kind": self.kind, **{n: getattr(self, n) for n in _field_names(type(self))}}

    def _require_positive(self, *names: str) -> None:
        for name in names:
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise UsageError(f"{self.kind}: {name} is {value!r}; expected a whole number >= 1")

    def _require_dtype(self) -> None:
        if self.dtype not in DTYPE_BYTES:
            raise UsageError(
                f"{self.kind}: dtype is {self.dtype!r}; expected one of {', '.join(DTYPE_BYTES)}"
            )

    def _require_tied(self, c_in: int, c_out: int) -> None:
        if c_in != c_out:
            raise UsageError(
                f"{self.kind}: c_in is {c_in} and c_out is {c_out}; here they must be equal"
            )

    def _require_op(self, op: str, known: tuple[str, ...]) -> None:
        if op not in known:
            raise UsageError(f"{self.kind}: op is {op!r}; expected one of {', '.join(known)}")


@functools.cache
def _field_names(kind: type[Workload]) -> tuple[str, ...]:
    return tuple(f.name for f in dataclasses.fields(kind))
