"""torch on the CPU, eager or compiled. Part of the agent."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from latprof.devices.agent.runtimes._base import LOOKED_UP, Array, Prepared, Refused, Runtime, fill
from latprof.devices.agent.runtimes._torch_profile import profile_module
from latprof.workloads import Attention, Conv2d, Elementwise, MatMul, Pool, Workload

__all__ = ["TorchRuntime", "build"]

_UNARY = {
    "gelu": functional.gelu,
    "hard_sigmoid": functional.hardsigmoid,
    "hard_swish": functional.hardswish,
    "neg": torch.neg,
    "relu": functional.relu,
    "relu6": functional.relu6,
    "rsqrt": torch.rsqrt,
    "sigmoid": torch.sigmoid,
    "silu": functional.silu,
    "square": torch.square,
    "tanh": torch.tanh,
}


class TorchRuntime(Runtime):
    """Inference mode, one stream of calls. Model files are ``.pt2`` (torch.export).

    Args:
        threads: intra-op threads; inter-op is 1.
        compiled: through torch.compile with inductor, which needs a C++ compiler.
    """

    def __init__(self, threads: int, compiled: bool = False) -> None:
        torch.set_num_threads(threads)
        torch.set_num_interop_threads(1)
        self._compiled = compiled
        self.version = str(torch.__version__)
        self.delegate = "inductor" if self._compiled else "eager"
        self.settings = {}

    def workload(self, workload: Workload) -> Prepared:
        if workload.dtype not in ("float32", "float16"):
            raise Refused(f"torch {workload.kind} in {workload.dtype}: expected a float")
        dtype = getattr(torch, workload.dtype)
        module, shapes = build(workload)
        inputs = {
            name: torch.from_numpy(fill(shape, seed)).to(dtype)
            for seed, (name, shape) in enumerate(shapes.items())
        }
        return _Module(self._compile(module.to(dtype).eval()), inputs)

    def model(self, source: str | bytes) -> Prepared:
        module, inputs = self._program(source)
        return _Module(self._compile(module), inputs)

    def profile(self, source: str | bytes, seconds: float) -> dict[str, Any]:
        module, inputs = self._program(source)
        plain = _Module(self._compile(module), inputs)
        return profile_module(module, plain.call, seconds, self.delegate)

    def _program(self, source: str | bytes) -> tuple[nn.Module, dict[str, Tensor]]:
        program = torch.export.load(io.BytesIO(source) if isinstance(source, bytes) else source)
        args, kwargs = program.example_inputs or ((), {})
        names = program.graph_signature.user_inputs
        return program.module(), dict(zip(names, (*args, *kwargs.values()), strict=True))

    def _compile(self, module: nn.Module) -> Callable[..., Any]:
        return torch.compile(module) if self._compiled else module


class _Module(Prepared):
    def __init__(self, module: Callable[..., Any], inputs: Mapping[str, Tensor]) -> None:
        self._module, self._names = module, list(inputs)
        args = tuple(inputs.values())

        def call() -> None:
            with torch.inference_mode():
                module(*args)

        self.call = call
        call()  # compiles

    def run(self, inputs: Mapping[str, Array]) -> list[Array]:
        if sorted(inputs) != sorted(self._names):
            raise Refused(f"inputs are {sorted(inputs)}; the model takes {self._names}")
        with torch.inference_mode():
            out = self._module(*(torch.from_numpy(inputs[name]) for name in self._names))
        outputs = [out] if isinstance(out, Tensor) else list(out)
        return [o.numpy() for o in outputs]


class _Op(nn.Module):
    """Any function of activations alone."""

    def __init__(self, function: object) -> None:
        super().__init__()
        self._function = function

    def forward(self, *inputs: Tensor) -> Tensor:
        return self._function(*inputs)  # type: ignore[operator,no-any-return]


class _Lookup(nn.Module):
    """Of ids that it holds; it reads no activation."""

    ids: Tensor

    def __init__(self, batch: int, tokens: int, c: int) -> None:
        super().__init__()
        self.register_buffer("ids", torch.zeros(batch, tokens, dtype=torch.int64))
        self.weight = nn.Parameter(torch.from_numpy(fill((LOOKED_UP, c))))

    def forward(self, _: Tensor) -> Tensor:
        return functional.embedding(self.ids, self.weight)


def build(w: Workload) -> tuple[nn.Module, dict[str, tuple[int, ...]]]:
    """The op as a module, and the shapes of its inputs."""
    match w:
        case Conv2d():
            module: nn.Module = nn.Conv2d(
                w.c_in, w.c_out, w.kernel, w.stride, w.padding, w.dilation, w.groups
            )
            return module, {"x": (w.batch, w.c_in, w.h, w.w)}
        case MatMul(weight_bits=bits) if bits:
            raise Refused(f"torch has no product of weights of {bits} bits: expected float ones")
        case MatMul(pattern=pattern) if pattern:
            raise Refused(f"torch has products of {pattern} weights on NVIDIA GPUs alone")
        case MatMul(weights=True):
            return nn.Linear(w.k, w.n), {"x": (w.batch, w.m, w.k)}
        case MatMul():
            return _Op(torch.matmul), {"a": (w.batch, w.m, w.k), "b": (w.batch, w.k, w.n)}
        case Attention():
            return _attention(w)
        case Elementwise():
            return _elementwise(w)
        case Pool():
            return _pool(w), {"x": (w.batch, w.c, w.h, w.w)}
    raise Refused(f"torch has no builder for {w.kind}")


def _attention(w: Attention) -> tuple[nn.Module, dict[str, tuple[int, ...]]]:
    if w.window:
        raise Refused("torch has no kernel of attention with a window: expected window 0")
    if w.causal and w.queries != w.keys:
        raise Refused(
            f"torch has no kernel of {w.queries} causal queries of {w.keys} keys: expected as many"
        )

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return functional.scaled_dot_product_attention(
            q, k, v, is_causal=w.causal, enable_gqa=w.heads_per_kv > 1
        )

    asked = (w.batch, w.heads, w.queries, w.head_dim)
    known = (w.batch, w.kv_heads, w.keys, w.head_dim)
    return _Op(attend), {"q": asked, "k": known, "v": known}


def _elementwise(w: Elementwise) -> tuple[nn.Module, dict[str, tuple[int, ...]]]:
    shape = (w.batch, w.c, w.h, w.w)
    if w.op in _UNARY:
        return _Op(_UNARY[w.op]), {"x": shape}
    if w.op == "softmax":
        return nn.Softmax(dim=-1), {"x": shape}
    if w.op == "layer_norm":
        return nn.LayerNorm(w.c), {"x": (w.batch, w.h * w.w, w.c)}
    if w.op == "embedding":
        return _Lookup(w.batch, w.h * w.w, w.c), {"x": (1,)}
    if w.op == "mean":
        return _Op(partial(torch.mean, dim=-1, keepdim=True)), {"x": (w.batch, w.h * w.w, w.c)}
    other = (w.batch, w.c, 1, 1) if w.op == "scale" else shape
    return _Op(torch.add if w.op == "add" else torch.mul), {"x": shape, "y": other}


def _pool(w: Pool) -> nn.Module:
    if w.op == "global_avg":
        return nn.AdaptiveAvgPool2d(1)
    kind = nn.AvgPool2d if w.op == "avg" else nn.MaxPool2d
    return kind(w.kernel, w.stride, w.padding)
