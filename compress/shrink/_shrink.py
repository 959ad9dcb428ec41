"""From a model and its masks to a physically smaller model of the user's own classes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from latprof.compress.graph import Graph, Inputs, copy_model
from latprof.compress.shrink._compare_models import compare_models, proof_inputs
from latprof.compress.shrink._factored import factored, is_conv1d
from latprof.compress.shrink._skip import gated, without
from latprof.errors import ShrinkError, UsageError

__all__ = ["shrink"]


def shrink(
    model: nn.Module,
    graph: Graph,
    alphas: Sequence[Tensor] | Mapping[str, Tensor],
    *,
    weights: Mapping[str, Tensor] = MappingProxyType({}),
    ranks: Mapping[str, int] = MappingProxyType({}),
    dropped: Collection[str] = (),
    verify: bool = True,
) -> nn.Module:
    """A smaller copy of the model that computes what the masked model computes in eval mode.

    Args:
        model: the model that ``graph`` was traced from; it stays as it is.
        graph: from ``trace``.
        alphas: masks (size,) per group, or {group name: mask} with the other groups left whole;
            0 removes a unit, other values are folded into the weights that read it.
        weights: values that take the place of the model's parameters, by name.
        ranks: {layer: rank} of weights that are of no higher rank; such a layer becomes two.
        dropped: residual blocks that become identities.
        verify: compare both networks on random inputs afterwards.

    Raises:
        UsageError: a mask of the wrong length, a removed unit of a group that cannot shrink, or
            a group left with fewer units than its minimum.
        ShrinkError: the small network does not compute what the masked one computes.
    """
    masks = prepare_masks(graph, alphas)
    small = factored(without(cut(model, graph, masks, weights), dropped), ranks)
    if verify:
        found = compare_models(
            model,
            small,
            proof_inputs(model, graph.inputs),
            forward=masked_forward(model, graph, masks, weights, dropped),
        )
        if not found.holds:
            raise ShrinkError(
                f"{graph.name}: the small network differs from the masked one: {found}; "
                "leave groups whole with exclude= to find which"
            )
    return small


def prepare_masks(graph: Graph, alphas: Sequence[Tensor] | Mapping[str, Tensor]) -> list[Tensor]:
    """One checked float mask per group."""
    if isinstance(alphas, Mapping):
        known = {g.name for g in graph.groups}
        if unknown := sorted(set(alphas) - known):
            raise UsageError(
                f"no group is called {unknown[0]!r}; latprof inspect lists their names"
            )
        alphas = [alphas.get(g.name, torch.ones(g.size)) for g in graph.groups]
    if len(alphas) != len(graph.groups):
        raise UsageError(f"{len(alphas)} masks for {len(graph.groups)} groups; expected one each")
    masks = []
    for g, alpha in zip(graph.groups, alphas, strict=True):
        mask = alpha.detach().to(torch.float32)
        if mask.shape != (g.size,):
            raise UsageError(f"group {g.name}: mask is {tuple(mask.shape)}; expected ({g.size},)")
        left = int((mask != 0).sum())
        if not g.prunable and left < g.size:
            raise UsageError(f"group {g.name} cannot shrink: {g.reason}")
        if left < g.minimum:
            raise UsageError(f"group {g.name}: {left} units left; expected at least {g.minimum}")
        masks.append(mask)
    return masks


def cut(
    model: nn.Module,
    graph: Graph,
    masks: Sequence[Tensor],
    override: Mapping[str, Tensor] = MappingProxyType({}),
    *,
    share: bool = False,
) -> nn.Module:
    """Deep copy in which every cut tensor is already small: the full model is not copied.

    For probing, ``override`` gives some parameters other values, and with ``share`` tensors that
    are not cut are the model's own.
    """
    keeps = graph.kept([m != 0 for m in masks])
    parameters = dict(model.named_parameters())
    tensors: dict[str, Tensor] = {**parameters, **dict(model.named_buffers())}
    scales = graph.scales([m.to(_device(parameters)) for m in masks])
    memo: dict[int, object] = {id(t): t for t in tensors.values()} if share else {}
    touched = {name for name, _ in keeps}
    with torch.no_grad():
        for name in touched | set(override):
            old = tensors[name]
            new = override.get(name, old).detach()
            for (owner, dim), keep in keeps.items():
                if owner == name:
                    left = keep.nonzero().squeeze(1).to(new.device)
                    new = new.index_select(dim, left)
                    if (scale := scales.get((owner, dim))) is not None:
                        along = [-1 if d == dim else 1 for d in range(new.ndim)]
                        new = new * scale[left].to(new.dtype).view(along)
            trained = old.requires_grad or name in override
            memo[id(old)] = nn.Parameter(new, trained) if name in parameters else new
    small = copy_model(model, memo)
    for path, module in small.named_modules():
        prefix = f"{path}." if path else ""
        if any(f"{prefix}{own}" in touched for own in (*module._parameters, *module._buffers)):
            _resize(module, prefix, graph)
    for path, changes in graph.attributes.items():
        module = small.get_submodule(path)
        for attribute, group in changes.items():
            units = int((masks[group] != 0).sum())
            _scale(module, attribute, units, graph.groups[group].size)
    return small


def _scale(module: nn.Module, attribute: str, units: int, size: int) -> None:
    """Bring ``attribute``, or the item i of a tuple where it is ``attribute[i]``, from ``size``
    units to ``units``."""
    name, _, place = attribute.partition("[")
    old = getattr(module, name)
    if not place:
        setattr(module, name, old * units // size)
        return
    items = list(old)
    i = int(place.removesuffix("]"))
    items[i] = items[i] * units // size
    setattr(module, name, type(old)(items))


def _resize(module: nn.Module, prefix: str, graph: Graph) -> None:
    """Bring a module's own record of its sizes in line with its tensors."""
    weight = getattr(module, "weight", None)
    shape = tuple(weight.shape) if isinstance(weight, Tensor) else ()
    if isinstance(module, nn.modules.conv._ConvTransposeNd):
        if (each := graph.grouped.get(f"{prefix}weight")) is not None:
            module.groups = shape[0] // each
        module.in_channels, module.out_channels = shape[0], shape[1] * module.groups
    elif isinstance(module, nn.modules.conv._ConvNd):
        if (each := graph.grouped.get(f"{prefix}weight")) is not None:
            module.groups = shape[0] // each
        module.out_channels, module.in_channels = shape[0], shape[1] * module.groups
    elif isinstance(module, nn.Linear):
        module.out_features, module.in_features = shape
    elif isinstance(module, nn.modules.batchnorm._NormBase):
        mean = module.running_mean if module.running_mean is not None else weight
        module.num_features = len(mean) if mean is not None else module.num_features
    elif isinstance(module, nn.GroupNorm):
        each = graph.grouped[f"{prefix}weight"]
        module.num_channels, module.num_groups = shape[0], shape[0] // each
    elif isinstance(module, nn.LayerNorm):
        module.normalized_shape = shape
    elif isinstance(module, (nn.Embedding, nn.EmbeddingBag)):
        module.num_embeddings, module.embedding_dim = shape
    elif isinstance(module, nn.PReLU):
        module.num_parameters = shape[0]
    elif is_conv1d(module):
        vars(module).update(nx=shape[0], nf=shape[1])


def masked_forward(
    model: nn.Module,
    graph: Graph,
    masks: Sequence[Tensor],
    override: Mapping[str, Tensor] = MappingProxyType({}),
    dropped: Collection[str] = (),
) -> Callable[[nn.Module, Inputs], Any]:
    """How the model, or a copy in float64, runs under these masks, for ``compare_models``.

    The masked weights are those of the model's own precision, as ``cut`` makes them.
    """
    parameters = dict(model.named_parameters())
    values = {**parameters, **override}
    with torch.no_grad():
        scaled = graph.masked(values, [m.to(_device(parameters)) for m in masks])
    masked = {**override, **scaled}

    def forward(module: nn.Module, inputs: Inputs) -> Any:
        own = dict(module.named_parameters())
        weights = {name: value.to(own[name].dtype) for name, value in masked.items()}
        with gated(module, dict.fromkeys(dropped, 0.0)):
            return functional_call(module, weights, inputs.args, inputs.kwargs)

    return forward


def _device(parameters: Mapping[str, Tensor]) -> torch.device:
    return next((p.device for p in parameters.values()), torch.device("cpu"))
