"""Residual blocks: modules that a network can do without, for what they are given goes on."""

from __future__ import annotations

import fnmatch
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import layer_norm

from latprof.compress.graph import Graph, evaluating
from latprof.compress.shrink import random_inputs, variant
from latprof.errors import ShrinkError
from latprof.workloads import Conv2d, MatMul

__all__ = ["lies_within", "residual_blocks"]

#: A number normalized twice may differ from one normalized once by this much, for norms add their
#: eps to the variance.
_ATOL = 1e-3


def lies_within(name: str, path: str) -> bool:
    """Whether a module or parameter of this name is the module at ``path``, or part of it."""
    return f"{name}.".startswith(f"{path}.")


def residual_blocks(model: nn.Module, graph: Graph, patterns: Sequence[str] = ("*",)) -> list[str]:
    """Paths of the innermost residual blocks among the modules of these names or patterns.

    A module is one where it returns exactly its first input once all its parameters are zero:
    x + f(x), and also relu(x + f(x)) where x comes from a relu; or where it then returns its first
    input normalized, if its layer norms have scales of 1: norm(x + f(x)). Names do not
    matter. Left alone are modules that run more than once or share parameters with others, and
    those around which the model's own code does not work, or not the same, with an identity.
    """
    found = [
        path
        for path, (module, calls) in _calls(model, graph).items()
        if any(fnmatch.fnmatch(path, p) for p in patterns)
        and len(calls) == 1
        and not _shares(model, path)
        and _returns_input_at_zero(module, *calls[0])
    ]
    inner = [p for p in found if not any(q.startswith(f"{p}.") for q in found)]
    if inner and not _follows(model, graph, inner):
        return [p for p in inner if _follows(model, graph, [p])]
    return inner


_Call = tuple[tuple[Any, ...], dict[str, Any]]


def _calls(model: nn.Module, graph: Graph) -> dict[str, tuple[nn.Module, list[_Call]]]:
    """Per module with weights that multiply, what one forward on random inputs calls it with."""
    working = {op.module for op in graph.ops if isinstance(op.workload, (Conv2d, MatMul))}
    calls: dict[str, list[_Call]] = defaultdict(list)
    modules = {
        path: module
        for path, module in model.named_modules()
        if path and any(lies_within(op, path) for op in working)
    }

    def watch(path: str, module: nn.Module) -> Any:
        def hook(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            copies = (a.clone() if isinstance(a, Tensor) else a for a in args)
            calls[path].append((tuple(copies), kwargs))

        return module.register_forward_pre_hook(hook, with_kwargs=True)

    handles = [watch(path, module) for path, module in modules.items()]
    inputs = random_inputs(graph.inputs, 0)
    try:
        with torch.no_grad(), evaluating(model):
            model(*inputs.args, **inputs.kwargs)
    finally:
        for handle in handles:
            handle.remove()
    return {path: (module, calls[path]) for path, module in modules.items()}


def _shares(model: nn.Module, path: str) -> bool:
    """True where a parameter within is also one without."""
    names: dict[int, set[bool]] = defaultdict(set)
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names[id(parameter)].add(name.startswith(f"{path}."))
    return any(len(where) == 2 for where in names.values())


def _returns_input_at_zero(
    module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> bool:
    """Whether a module without weights returns its first input, or that input normalized."""
    if not args or not isinstance(args[0], Tensor) or not args[0].any():
        return False
    x = args[0].clone()  # the module may work in place
    zero = {name: torch.zeros_like(p) for name, p in module.named_parameters()}
    if torch.equal(_computed(module, zero, args, kwargs), x):
        return True
    norms = {f"{n}.weight": m for n, m in module.named_modules() if isinstance(m, nn.LayerNorm)}
    as_new = {name: torch.ones_like(p) for name, p in zero.items() if name in norms}
    if not as_new:
        return False
    output = _computed(module, zero | as_new, (x.clone(), *args[1:]), kwargs)
    shapes = {norms[name].normalized_shape for name in as_new}
    return output.shape == x.shape and any(
        torch.allclose(layer_norm(output, shape), layer_norm(x, shape), atol=_ATOL)
        for shape in shapes
        if x.shape[-len(shape) :] == shape
    )


def _computed(
    module: nn.Module, parameters: dict[str, Tensor], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Tensor:
    """The output with these parameters; empty where it is no tensor."""
    try:
        with torch.no_grad(), evaluating(module):
            output = functional_call(module, parameters, args, kwargs)
    except (RuntimeError, ValueError):  # as inverting a weight of zeros does
        return torch.empty(0)
    return output if isinstance(output, Tensor) else torch.empty(0)


def _follows(model: nn.Module, graph: Graph, paths: Sequence[str]) -> bool:
    """Whether the model computes the same with identities in these places as with the blocks
    gated to nothing, at random widths."""
    try:
        variant(model, graph, np.random.default_rng(0), dropped=paths)
    except ShrinkError:
        return False
    return True
