"""The weights that blocks may change: of which kind of layer each is, and how it lies."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from latprof.compress.graph import Graph
from latprof.compress.shrink import is_conv1d
from latprof.workloads import Conv2d, MatMul

__all__ = ["Layer", "lone_parameters", "weighted_layers"]

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


@dataclass(frozen=True)
class Layer:
    """One weight of a layer, which the forward reads.

    Args:
        path: module.
        shape: of the weight.
        ops: positions among the graph's measured ops; several where the module runs more often.
        name: of the parameter within its module.
        kind: ``linear``, ``convolution``, ``embedding``, ``recurrent``, ``attention`` or
            ``bilinear``.
        groups: of a convolution.
        inputs_first: the weight's first dim is of input channels, as in transposed convolutions.
        whole: why it cannot become two layers; empty where it can.
        lookups: rows that an embedding looks up in one forward.
    """

    path: str
    shape: tuple[int, ...]
    ops: tuple[int, ...] = ()
    name: str = "weight"
    kind: str = "linear"
    groups: int = 1
    inputs_first: bool = False
    whole: str = ""
    lookups: int = 0

    @property
    def weight(self) -> str:
        """Name of its parameter."""
        return f"{self.path}.{self.name}" if self.path else self.name  # a model may be one layer

    @property
    def title(self) -> str:
        """What users call it: its module, and the parameter where the module has several."""
        return self.path if self.name == "weight" else self.weight

    @property
    def full_rank(self) -> int:
        """Of the weight as a matrix (first dim, all others)."""
        return min(self.shape[0], math.prod(self.shape[1:]))

    @property
    def channels(self) -> tuple[int, int]:
        """Output channels, and input channels that each of them reads."""
        first, second = self.shape[:2]
        if self.inputs_first:
            return second * self.groups, first // self.groups
        return first, second

    @property
    def outputs_dim(self) -> int:
        """The weight's dim of output channels; a grouped transposed convolution has but a group's
        there."""
        return 1 if self.inputs_first else 0

    def ordered(self, weight: Tensor) -> Tensor:
        """A tensor of the weight's shape as (outputs, inputs that each reads, places)."""
        out, inner = self.channels
        if not self.inputs_first:
            return weight.reshape(out, inner, -1)
        grouped = weight.reshape(self.groups, inner, out // self.groups, -1)
        return grouped.transpose(1, 2).reshape(out, inner, -1)

    def restored(self, ordered: Tensor) -> Tensor:
        """From what ``ordered`` gives back to the weight's shape."""
        out, inner = self.channels
        if not self.inputs_first:
            return ordered.reshape(self.shape)
        grouped = ordered.reshape(self.groups, out // self.groups, inner, -1)
        return grouped.transpose(1, 2).reshape(self.shape)


def weighted_layers(model: nn.Module, graph: Graph) -> list[Layer]:
    """Every weight of two dims and more that a layer of a known kind holds and the forward reads.

    A weight that several modules share is listed once, under its first name.
    """
    ops: dict[str, list[int]] = {}
    for n, op in enumerate(graph.ops):
        ops.setdefault(op.module, []).append(n)
    users = Counter(id(p) for _, p in model.named_parameters(remove_duplicate=False))
    layers = []
    for path, module, name, weight in _weights(model, graph):
        kind = _kind(module)
        if not kind:
            continue
        mine = tuple(ops.get(path, ()))
        works = [graph.ops[n].workload for n in mine]
        layer = Layer(
            path,
            tuple(weight.shape),
            mine,
            name,
            kind,
            module.groups if isinstance(module, _ConvNd) else 1,
            isinstance(module, _ConvTransposeNd) or is_conv1d(module),
            lookups=sum(
                n for where, n in graph.lookups.get(_full(path, name), ()) if where == path
            ),
        )
        runs = bool(works) and all(isinstance(w, (Conv2d, MatMul)) for w in works)
        called = runs or bool(layer.lookups)
        reason = _whole(module, layer, tied=users[id(weight)] > 1, called=called)
        layers.append(Layer(**{**vars(layer), "whole": reason}))
    return layers


def lone_parameters(model: nn.Module, graph: Graph) -> dict[str, str]:
    """{parameter of two dims and more that is of no layer that blocks know: why not}"""
    found = {}
    for path, module, name, _ in _weights(model, graph, read=False):
        full = _full(path, name)
        if not _kind(module):
            found[full] = f"a parameter of {type(module).__name__}, which is no layer of torch's"
    return found


def _weights(
    model: nn.Module, graph: Graph, *, read: bool = True
) -> Iterator[tuple[str, nn.Module, str, Tensor]]:
    """(module's path, module, parameter's name, parameter); of a shared one the first."""
    used = {part.name for g in graph.groups for part in (*g.readers, *g.writers)}
    for path, module in model.named_modules():
        for name, weight in module._parameters.items():
            full = _full(path, name)
            if weight is None or weight.ndim < 2 or not weight.is_floating_point():
                continue
            if full in graph.shapes and (not read or full in used):
                yield path, module, name, weight


def _kind(module: nn.Module) -> str:
    if isinstance(module, nn.Linear) or is_conv1d(module):
        return "linear"
    if isinstance(module, _ConvNd):
        return "convolution"
    if isinstance(module, (nn.Embedding, nn.EmbeddingBag)):
        return "embedding"
    if isinstance(module, nn.RNNBase):
        return "recurrent"
    if isinstance(module, nn.MultiheadAttention):
        return "attention"
    return "bilinear" if isinstance(module, nn.Bilinear) else ""


def _whole(module: nn.Module, layer: Layer, *, tied: bool, called: bool) -> str:
    """Why the layer cannot become two."""
    name = type(module).__name__
    if tied:
        return "another layer shares its weight"
    if layer.kind == "recurrent":
        return f"torch's {name} multiplies by whole matrices"
    if layer.kind in ("attention", "bilinear"):
        return f"torch's {name} multiplies by its weight itself, and not through a layer"
    if isinstance(module, nn.EmbeddingBag):
        return "a bag of embeddings is looked up and summed in one op"
    if isinstance(module, nn.Embedding) and module.max_norm is not None:
        return "it brings its rows to max_norm where it looks them up"
    if layer.groups > 1:
        if layer.channels[1] == 1:
            return "depthwise convolution has one input channel per group"
        return f"grouped convolution: each of its {layer.groups} groups needs a rank of its own"
    known = (nn.Linear, nn.Embedding, *_CONVOLUTIONS, *_TRANSPOSED)
    if type(module) not in known and not is_conv1d(module):
        return f"{name} is derived from torch's layer, and may use its weight otherwise"
    return "" if called else "its weight is read by another module"


def _full(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
