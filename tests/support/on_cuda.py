"""Tensors that say they are on a GPU and compute on the CPU, and refuse what a GPU would refuse.

No GPU is needed, and values are real: what a network becomes can be compared with the CPU's.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten, tree_map

from latprof.compress.graph import copy_model

__all__ = ["OnCuda", "as_on_cuda", "on_cuda", "waits"]

CUDA, CPU = torch.device("cuda", 0), torch.device("cpu")
#: What takes tensors of two devices on a real GPU too: copies, and indices on the CPU.
MIXED = ("copy_", "_to_copy", "index.Tensor", "index_put", "_index_put_impl_")
#: Reading these waits until the GPU has computed them.
READS = ("_local_scalar_dense", "equal.default", "nonzero", "masked_select")
_waits: list[str] = []
#: Not empty within a backward pass, where autograd itself makes tensors: those of one device in the
#: forward pass have gradients on it.
_backward: list[bool] = []


class OnCuda(Tensor):
    """A tensor that says it is on a GPU."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> OnCuda:
        made: OnCuda = Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls,
            held.size(),
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            layout=held.layout,
            requires_grad=False,
        )
        made.held = held
        return made

    def __repr__(self) -> str:  # type: ignore[override]
        return f"OnCuda({self.held})"

    @classmethod
    def __torch_dispatch__(
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        name = str(func).removeprefix("aten.")
        flat = [v for v in tree_flatten((args, kwargs))[0] if isinstance(v, Tensor)]
        plain = [t for t in flat if not isinstance(t, OnCuda) and t.ndim]
        if plain and not name.startswith(MIXED) and not _backward:
            raise RuntimeError(f"{name}: tensors are on cuda and on the CPU, {plain[0].shape}")
        if name.startswith(READS):
            _waits.append(name)
        out = func(*tree_map(_held, args), **tree_map(_held, kwargs))
        if name.endswith("_.default") or ".out" in name:
            return args[0]
        if name.startswith("copy_"):
            return args[0]
        return tree_map(_on_cuda, out)


def _held(value: Any) -> Any:
    return value.held if isinstance(value, OnCuda) else value


def _on_cuda(value: Any) -> Any:
    return OnCuda(value) if isinstance(value, Tensor) and not isinstance(value, OnCuda) else value


class _Devices(TorchFunctionMode):
    """``device`` of an OnCuda is cuda, and what is made there is one."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func == Tensor.device.__get__:  # type: ignore[attr-defined]
            return CUDA if isinstance(args[0], OnCuda) else func(*args)
        if func in (Tensor.backward, torch.autograd.backward, torch.autograd.grad):
            _backward.append(True)
            try:
                return func(*args, **kwargs)
            finally:
                _backward.pop()
        if func is Tensor.tolist and isinstance(args[0], OnCuda):
            _waits.append("tolist")
            return args[0].held.tolist()
        if func in (Tensor.cpu, Tensor.to):
            asked = kwargs.pop("device", None) or next(
                (a for a in args[1:] if isinstance(a, (str, torch.device))), None
            )
            asked = "cpu" if func is Tensor.cpu else asked
            rest = [a for a in args[1:] if not isinstance(a, (str, torch.device))]
            other = next((a for a in rest if isinstance(a, Tensor)), None)
            here = isinstance(args[0], OnCuda)
            there = here if asked is None else torch.device(asked).type == "cuda"
            there = isinstance(other, OnCuda) if other is not None else there
            rest = [a.dtype if isinstance(a, Tensor) else a for a in rest]
            value = args[0]
            if here and not there:
                _waits.append("to cpu")
                value = _Down.apply(value)
            elif there and not here:
                value = _Up.apply(value)
            return value.to(*rest, **kwargs) if rest or kwargs else value
        device = kwargs.get("device")
        if device is not None and torch.device(device).type == "cuda":
            kwargs["device"] = CPU
            return _on_cuda(func(*args, **kwargs))
        if isinstance(device, torch.device) and any(isinstance(a, OnCuda) for a in args):
            raise RuntimeError(f"{func.__name__} on {device} of a tensor on cuda")
        return func(*args, **kwargs)


class _Down(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: OnCuda) -> Tensor:
        return value.held.detach().clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        return OnCuda(gradient)


class _Up(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        return OnCuda(value.detach().clone())

    @staticmethod
    def backward(ctx: Any, gradient: Any) -> Tensor:
        return _held(gradient)  # type: ignore[no-any-return]


def on_cuda(module: nn.Module) -> nn.Module:
    """A copy with all parameters and buffers moved, and nothing else: as ``module.to("cuda")``."""
    memo: dict[int, Any] = {}
    for tensor in (*module.parameters(), *module.buffers()):
        wrapped: Any = OnCuda(tensor.detach().clone())
        is_parameter = isinstance(tensor, nn.Parameter)
        memo[id(tensor)] = nn.Parameter(wrapped, tensor.requires_grad) if is_parameter else wrapped
    return copy_model(module, memo)


def waits() -> list[str]:
    """The reads that waited for the GPU since the last call."""
    found = list(_waits)
    _waits.clear()
    return found


@contextmanager
def as_on_cuda() -> Iterator[None]:
    """Within, devices are what these tensors say."""
    with _Devices():
        yield
