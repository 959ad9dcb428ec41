"""Workloads: one op at one shape, as pure data.

A workload knows its arithmetic (MACs, bytes) and its channels, and nothing of how it is
measured. Every kind has the same two channel axes, so that a network's workloads can be
re-counted together when its channel groups shrink.
"""

from __future__ import annotations

import dataclasses
import functools
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from latprof._errors import UsageError

__all__ = [
    "DTYPE_BYTES",
    "ELEMENTWISE_OPS",
    "POOL_OPS",
    "Conv2d",
    "Elementwise",
    "MatMul",
    "Pool",
    "Workload",
    "workload_from_dict",
]

DTYPE_BYTES = {"float32": 4, "float16": 2, "int8": 1}

#: ``scale`` multiplies a (c, h, w) map by a (c, 1, 1) vector, as squeeze-excite does;
#: ``add`` and ``mul`` read two full maps; the rest read one.
ELEMENTWISE_OPS = (
    "add", "gelu", "hard_sigmoid", "hard_swish", "layer_norm", "mul", "relu", "relu6",
    "scale", "sigmoid", "silu", "softmax", "tanh",
)  # fmt: skip
POOL_OPS = ("avg", "global_avg", "max")


@dataclass(frozen=True)
class Workload(ABC):
    """One op at one shape. Laws, tested for every kind:

    ``workload_from_dict(w.to_dict()) == w``; ``w.with_channels(*w.channels) == w``;
    ``family`` does not change under ``with_channels``; MACs and bytes are non-negative and
    do not fall when a channel count grows.
    """

    kind: ClassVar[str]

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

    @property
    def label(self) -> str:
        """What kind of op this is, without any size: ``conv2d.k1``, ``elementwise.add``,
        ``matmul.int8``. Kernels are written per label, and so latency laws are."""
        return self._op if self.dtype_name == "float32" else f"{self._op}.{self.dtype_name}"

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
        return self.weight_count * DTYPE_BYTES[self.dtype_name]

    @property
    def dtype_name(self) -> str:
        return str(getattr(self, "dtype"))  # noqa: B009  each kind declares it as a field

    def with_dtype(self, dtype: str) -> Self:
        """The same op computed in ``dtype``, one of DTYPE_BYTES."""
        return dataclasses.replace(self, dtype=dtype)  # type: ignore[call-arg]

    def to_dict(self) -> dict[str, Any]:
        """``{"kind": ..., field: value, ...}``; JSON-ready, inverse of workload_from_dict."""
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return {"kind": self.kind, **fields}

    def _require_positive(self, *names: str) -> None:
        for name in names:
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise UsageError(f"{self.kind}: {name} is {value!r}; expected a whole number >= 1")

    def _require_dtype(self) -> None:
        if self.dtype_name not in DTYPE_BYTES:
            raise UsageError(
                f"{self.kind}: dtype is {self.dtype_name!r}; expected one of "
                f"{', '.join(DTYPE_BYTES)}"
            )


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
        _require_tied(self.kind, c_in, c_out)
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
        _require_tied(self.kind, c_in, c_out)
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


@dataclass(frozen=True)
class Elementwise(Workload):
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
        _require_op(self.kind, self.op, ELEMENTWISE_OPS)

    @property
    def tied(self) -> bool:
        return True

    @property
    def channels(self) -> tuple[int, int]:
        return self.c, self.c

    def with_channels(self, c_in: int, c_out: int) -> Self:
        _require_tied(self.kind, c_in, c_out)
        return dataclasses.replace(self, c=c_out)

    @property
    def macs(self) -> int:
        return 0  # by the field's convention only contractions count

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
        _require_op(self.kind, self.op, POOL_OPS)

    @property
    def tied(self) -> bool:
        return True

    @property
    def channels(self) -> tuple[int, int]:
        return self.c, self.c

    def with_channels(self, c_in: int, c_out: int) -> Self:
        _require_tied(self.kind, c_in, c_out)
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


_KINDS: dict[str, type[Workload]] = {c.kind: c for c in (Conv2d, MatMul, Elementwise, Pool)}


def workload_from_dict(data: Mapping[str, Any]) -> Workload:
    """Inverse of ``Workload.to_dict``.

    Raises:
        UsageError: unknown kind, or fields that are not the kind's.
    """
    fields = dict(data)
    kind = fields.pop("kind", None)
    if kind not in _KINDS:
        raise UsageError(f"workload kind is {kind!r}; expected one of {', '.join(_KINDS)}")
    try:
        return _KINDS[kind](**fields)
    except TypeError as exc:
        names = ", ".join(f.name for f in dataclasses.fields(_KINDS[kind]))
        raise UsageError(f"{kind}: fields are {sorted(fields)}; expected {names}") from exc


def _require_tied(kind: str, c_in: int, c_out: int) -> None:
    if c_in != c_out:
        raise UsageError(f"{kind}: c_in is {c_in} and c_out is {c_out}; here they must be equal")


def _require_op(kind: str, op: str, known: tuple[str, ...]) -> None:
    if op not in known:
        raise UsageError(f"{kind}: op is {op!r}; expected one of {', '.join(known)}")
