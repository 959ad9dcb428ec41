"""The products that an op computes, found by running it on tensors without data.

An op without a rule of its own (``gru_cell``, ``einsum``, ``tensordot``) is made of a few basic
products. Torch runs it on tensors of the meta device, which have shapes and no values, and the
shapes of each basic product that it comes to are its cost.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from latprof.compress.trace._values import Call, Value
from latprof.workloads import MatMul, Workload, conv_transpose_workload, conv_workload

__all__ = ["contractions"]


def contractions(call: Call) -> list[Workload]:
    """Workloads of the products that the call computes; none where it computes none, or where
    torch cannot tell without data."""
    if call.name == "bilinear":
        return _bilinear(call)
    args = pytree.tree_map_only(Value, _meta, dict(call.args))
    with _Recorder() as recorder, torch.no_grad():
        try:
            call.target(**args)
        except Exception:  # noqa: BLE001  an op without a meta kernel may raise anything
            return []
    return [
        w if times == 1 else MatMul(m=w.m, k=w.k, n=w.n, batch=w.batch * times, weights=False)
        for w, times in recorder.merged()
    ]


def _meta(value: Value) -> Tensor:
    if value.const is not None and not value.floating:
        return value.const  # positions: they decide about shapes
    dtype = torch.float32 if value.floating else torch.int64
    return torch.empty(value.shape, dtype=dtype, device="meta")


class _Recorder(TorchDispatchMode):
    """Notes every basic product that runs."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found: list[Workload] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        made = func(*args, **(kwargs or {}))
        if (cost := _COSTS.get(func._schema.name.split("::")[-1])) is not None:
            bound = {a.name: v for a, v in zip(func._schema.arguments, args, strict=False)}
            work = cost(bound | (kwargs or {}), made)
            if work is not None and work.macs:
                self.found.append(work)
        return made

    def merged(self) -> list[tuple[Any, int]]:
        """Products that repeat, as the steps of an RNN do, once each with their number."""
        numbers = Counter(self.found)
        return [
            entry
            for w, n in numbers.items()
            for entry in ([(w, n)] if isinstance(w, MatMul) else [(w, 1)] * n)
        ]


def _product(a: Tensor, b: Tensor) -> Workload | None:
    (*batch, m, k), n = a.shape, b.shape[-1]
    number = math.prod(batch)
    if 0 in (number, m, k, n):
        return None
    return MatMul(m=m, k=k, n=n, batch=number, weights=not batch)


def _grouped(a: Tensor, b: Tensor) -> Workload | None:
    """Rows of ``a`` are shared out among the matrices of ``b``, and each meets one of them."""
    if a.ndim == 3 and b.ndim == 3:
        return _product(a, b)
    return _product(a.reshape(-1, a.shape[-1]) if a.ndim == 2 else a[0], b[0] if b.ndim == 3 else b)


def _vector(a: Tensor, b: Tensor) -> Workload | None:
    return _product(a.reshape(-1, a.shape[-1]), b.reshape(-1, 1))


def _convolution(args: Mapping[str, Any], made: Tensor) -> Workload:
    x, weight, groups = args["input"], args["weight"], args["groups"]
    if args["transposed"]:
        if groups == 1:
            return conv_transpose_workload(x.shape, weight.shape)
        taps = math.prod(weight.shape[2:])
        rows = x.shape[0] * math.prod(x.shape[2:])
        k, n = weight.shape[0] // groups, weight.shape[1] * taps
        return MatMul(m=rows, k=k, n=n, batch=groups, weights=False)
    return conv_workload(
        x.shape, made.shape, weight.shape, groups, args["stride"], args["dilation"]
    )


_Cost = Callable[[Mapping[str, Any], Any], "Workload | None"]
_COSTS: dict[str, _Cost] = {
    "mm": lambda a, _: _product(a["self"], a["mat2"]),
    "addmm": lambda a, _: _product(a["mat1"], a["mat2"]),
    "bmm": lambda a, _: _product(a["self"], a["mat2"]),
    "baddbmm": lambda a, _: _product(a["batch1"], a["batch2"]),
    "addbmm": lambda a, _: _product(a["batch1"], a["batch2"]),
    "mv": lambda a, _: _vector(a["self"], a["vec"]),
    "addmv": lambda a, _: _vector(a["mat"], a["vec"]),
    "dot": lambda a, _: _vector(a["self"], a["tensor"]),
    "vdot": lambda a, _: _vector(a["self"], a["other"]),
    "_grouped_mm": lambda a, _: _grouped(a["self"], a["mat2"]),
    "_scaled_mm": lambda a, _: _product(a["self"], a["mat2"]),
    "_int_mm": lambda a, _: _product(a["self"], a["mat2"]),
    "convolution": _convolution,
}


def _bilinear(call: Call) -> list[Workload]:
    """x (..., i) times W (o, i, j), then each output row times y (..., j)."""
    x, weight = call["input1"], call["weight"]
    rows = math.prod(x.shape[:-1])
    out, i, j = weight.shape
    return [MatMul(m=rows, k=i, n=out * j), MatMul(m=out, k=j, n=1, batch=rows, weights=False)]
