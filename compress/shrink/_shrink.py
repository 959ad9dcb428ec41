"""From a model and its masks to a physically smaller model of the user's own classes."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType

import torch
from torch import Tensor, nn
from torch.func import functional_call

from latprof.compress.graph import (
    Graph,
    Inputs,
    copy_model,
    culprit,
    evaluating,
    first_line,
    flat_outputs,
)
from latprof.compress.shrink._factored import factored
from latprof.compress.shrink._skip import gated, without
from latprof.errors import ShrinkError, UsageError

__all__ = ["TOLERANCE", "relative_error", "shrink"]

#: Largest relative difference between what two forms of one network compute, in float32.
TOLERANCE = 1e-5


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
        error = compare(model, small, graph, masks, weights, dropped)
        limit = tolerance(model)
        if not error <= limit:  # rounding, or wrong? float64 tells
            exact = exact_error(model, small, graph, masks, weights, dropped)
            error = error if exact is None else exact
        if not error <= limit:
            raise ShrinkError(
                f"{graph.name}: the small network is {error:.2g} from the masked one (relative); "
                f"expected at most {limit:g}; leave groups whole with exclude= to find which"
            )
    return small


def tolerance(model: nn.Module) -> float:
    """Largest relative error that rounding explains, in the model's own precision."""
    eps = [torch.finfo(p.dtype).eps for p in model.parameters() if p.is_floating_point()]
    return max([TOLERANCE, *(32 * e for e in eps if e > torch.finfo(torch.float32).eps)])


def exact_error(
    model: nn.Module,
    small: nn.Module,
    graph: Graph,
    masks: Sequence[Tensor],
    override: Mapping[str, Tensor] = MappingProxyType({}),
    dropped: Collection[str] = (),
) -> float | None:
    """The error in float64, where rounding is none; None for a model that insists on float32."""
    models = copy_model(model).double(), copy_model(small).double()
    doubled = {name: value.double() for name, value in override.items()}
    try:
        return compare(*models, graph, masks, doubled, dropped)
    except (RuntimeError, ShrinkError):
        return None


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
            old_value = getattr(module, attribute)
            setattr(module, attribute, old_value * units // graph.groups[group].size)
    return small


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
    elif isinstance(module, nn.Embedding):
        module.num_embeddings, module.embedding_dim = shape
    elif isinstance(module, nn.PReLU):
        module.num_parameters = shape[0]
    elif is_conv1d(module):
        vars(module).update(nx=shape[0], nf=shape[1])


def is_conv1d(module: nn.Module) -> bool:
    """True for the linear layer that GPT-2 calls Conv1D."""
    return {"nf", "nx"} <= vars(module).keys()


def compare(
    model: nn.Module,
    small: nn.Module,
    graph: Graph,
    masks: Sequence[Tensor],
    override: Mapping[str, Tensor] = MappingProxyType({}),
    dropped: Collection[str] = (),
    seed: int = 0,
) -> float:
    """Relative error of the small network against the masked one, on random inputs."""
    parameters = dict(model.named_parameters())
    exact = torch.backends.cudnn.flags(enabled=True, allow_tf32=False)
    with torch.no_grad(), evaluating(model), evaluating(small), exact:
        inputs = random_inputs(graph.inputs, seed, _dtype(parameters))
        try:  # the small one first: where it fails, the large one need not run
            got = flat_outputs(small(*inputs.args, **inputs.kwargs))
        except Exception as exc:
            raise ShrinkError(
                f"{graph.name}: the small network's forward fails{culprit(small, exc)}: "
                f"{first_line(exc)}"
            ) from exc
        values = {**parameters, **override}
        masked = {**override, **graph.masked(values, [m.to(_device(parameters)) for m in masks])}
        with gated(model, dict.fromkeys(dropped, 0.0)):
            wanted = flat_outputs(functional_call(model, masked, inputs.args, inputs.kwargs))
    return relative_error(wanted, got)


def relative_error(wanted: Sequence[Tensor], got: Sequence[Tensor]) -> float:
    """Largest |got - wanted| of each output over its largest |wanted|; inf where shapes differ."""
    if [t.shape for t in wanted] != [t.shape for t in got]:
        return float("inf")
    worst = 0.0
    for a, b in zip(wanted, got, strict=True):
        if a.numel() == 0:
            continue
        a, b = a.double(), b.double().to(a.device)
        scale = float(a.abs().max())
        difference = float((a - b).abs().max())
        error = difference / scale if scale > 0 else difference
        worst = max(worst, error if error == error else float("inf"))
    return worst


def random_inputs(inputs: Inputs, seed: int, dtype: torch.dtype | None = None) -> Inputs:
    """Inputs of the same shapes, floating ones drawn from a normal; others as they are."""
    generator = torch.Generator().manual_seed(seed)

    def draw(value: object) -> object:
        if isinstance(value, Tensor) and value.is_floating_point():
            drawn = torch.randn(value.shape, generator=generator)
            return drawn.to(value.device, dtype or value.dtype)
        return value

    tree = torch.utils._pytree.tree_map(draw, (inputs.args, inputs.kwargs))
    return Inputs(*tree)


def _dtype(parameters: Mapping[str, Tensor]) -> torch.dtype | None:
    """float64 where the model was taken to it, else what the inputs are."""
    doubled = any(p.dtype == torch.float64 for p in parameters.values())
    return torch.float64 if doubled else None


def _device(parameters: Mapping[str, Tensor]) -> torch.device:
    return next((p.device for p in parameters.values()), torch.device("cpu"))
