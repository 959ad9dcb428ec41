"""Products of weights of which two in four are zeros, by torch on a GPU. Part of the agent."""

from __future__ import annotations

import torch
from torch import nn
from torch.sparse import to_sparse_semi_structured

from latprof.devices.agent.runtimes._base import Refused
from latprof.devices.agent.runtimes._torch import build
from latprof.workloads import MatMul

__all__ = ["two_of_four"]

#: Compute capability of the first tensor cores that skip zeros, Ampere's.
_FIRST = (8, 0)


def two_of_four(
    w: MatMul, device: torch.device, capability: tuple[int, int]
) -> tuple[nn.Module, dict[str, tuple[int, ...]]]:
    """A linear layer with half of its weights, as torch stores and multiplies them, and the shapes
    of its inputs.

    Raises:
        Refused: the GPU, the dtype or the size has no such kernel.
    """
    if capability < _FIRST:
        raise Refused(
            f"torch {w.label} on a GPU of compute capability {'.'.join(map(str, capability))}: "
            "expected 8.0 or later"
        )
    if w.dtype != "float16":
        raise Refused(f"torch {w.label} in {w.dtype}: expected precision float16")
    linear, shapes = build(w.with_pattern(""))
    assert isinstance(linear, nn.Linear)
    linear = linear.to(device, torch.float16).eval()
    kept = torch.arange(w.k, device=device) % 4 < 2
    try:
        packed = to_sparse_semi_structured((linear.weight * kept).detach())
    except RuntimeError as error:  # of sizes that its kernels do not take
        raise Refused(f"torch {w.label} of {w.k} to {w.n}: {error}") from None
    linear.weight = nn.Parameter(packed, requires_grad=False)
    return linear, shapes
