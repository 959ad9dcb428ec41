"""Layers on shortcuts: a single layer beside a longer way, where the two are added."""

from __future__ import annotations

import torch
from torch import fx

__all__ = ["shortcut_layers"]

_ADDS = ("aten::add", "aten::add_")


def shortcut_layers(program: torch.export.ExportedProgram) -> frozenset[str]:
    """Paths of the modules that are alone on one side of an addition, with two layers or more on
    the other: the convolutions that match a residual block's input to its output."""
    weights = {
        name
        for name, parameter in program.graph_signature.inputs_to_parameters.items()
        if program.state_dict[parameter].ndim > 1
    }
    upstream: dict[fx.Node, int] = {}  # a bit for each node that it follows from, itself included
    fixed: set[fx.Node] = set()  # follow from weights alone
    layers: dict[int, str] = {}  # {bit: module} of nodes that multiply by a weight
    found: set[str] = set()
    for bit, node in enumerate(program.graph_module.graph.nodes):
        inputs = node.all_input_nodes
        upstream[node] = 1 << bit
        for other in inputs:
            upstream[node] |= upstream[other]
        if node.name in weights or (inputs and all(other in fixed for other in inputs)):
            fixed.add(node)
        elif any(other in fixed for other in inputs):
            layers[bit] = module_of(node)
        if _is_addition(node) and len(inputs) == 2:
            ways = [_layers(upstream[a] & ~upstream[b], layers) for a, b in (inputs, inputs[::-1])]
            shorter, longer = sorted((ways[0] - ways[1], ways[1] - ways[0]), key=len)
            if len(shorter) == 1 and len(longer) > 1:
                found |= shorter
    return frozenset(found)


def module_of(node: fx.Node) -> str:
    """Path of the innermost module that ran this call."""
    stack = node.meta.get("nn_module_stack") or {}
    path = next(reversed(list(stack.values())))[0] if stack else ""
    return str(path)


def _is_addition(node: fx.Node) -> bool:
    target = node.target
    return isinstance(target, torch._ops.OpOverload) and target._schema.name in _ADDS


def _layers(nodes: int, layers: dict[int, str]) -> set[str]:
    return {path for bit, path in layers.items() if nodes >> bit & 1}
