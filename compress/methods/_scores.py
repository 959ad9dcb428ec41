"""What a unit is worth: by its weights, by the loss's gradient, by where training moves it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from latprof.compress.methods._method import Parts
from latprof.compress.space import Space
from latprof.errors import UsageError

__all__ = ["SCORES", "check_score", "energies", "movement_worth", "with_equal_totals"]

#: Of methods that score units.
SCORES = ("magnitude", "movement", "taylor")


def check_score(score: str, known: Sequence[str] = SCORES, name: str = "score") -> None:
    """Raises UsageError where ``score`` is none of ``known``."""
    if score not in known:
        raise UsageError(f"{name} is {score!r}; expected one of {', '.join(known)}")


@torch.no_grad()
def energies(parts: Parts) -> list[Tensor]:
    """Per group, what zeroing each unit alone would change, as a squared distance of weights:
    of channels the weights that read them, of ranks the singular values, of bit widths what each
    takes from the error of the one below, of residual blocks all their parameters. (size,) each.
    """
    space, graph, weights = parts.space, parts.space.graph, parts.weights
    values: dict[str, Tensor] = dict(parts.model.named_parameters(remove_duplicate=False))
    for option, factors in zip(space.ranks, weights.factors, strict=True):
        ones = torch.ones(option.group.size, device=values[option.layer.weight].device)
        values[option.layer.weight] = factors(ones)
    device = next(iter(values.values())).device
    found = [graph.norms(values, g).square().to(device) for g in graph.groups]
    of_ranks = weights.spectra()
    for option in space.options:
        weight = values[option.layer.weight].detach().float()
        index = option.group.index
        if index in of_ranks:
            found.append(of_ranks[index].float().square())
        elif option in space.sparse:
            found.append(weights.tiles_of(option).units(weight).square().sum(1))
        else:
            place = space.bits.index(option)
            found.append(weights.error_reductions(place, weight))
    for residual in space.residuals:
        inner = [v.detach().float() for n, v in values.items() if residual.holds(n)]
        found.append(torch.stack([v.square().sum() for v in inner]).sum()[None])
    return found


def with_equal_totals(importances: Sequence[Tensor], space: Space) -> list[Tensor]:
    """Importances of which every layer that may have zeros has the same total, the mean of theirs.

    So a weight counts as a share of what its layer keeps, as in LAMP (Lee et al., 2021,
    arXiv:2010.15623): no layer is emptied because its importances are small beside another's.
    """
    scaled = list(importances)
    layers = [option.group.index for option in space.sparse]
    if layers:
        totals = torch.stack([scaled[index].sum() for index in layers])
        scales = totals.mean() / totals.clamp_min(1e-30)
        for index, scale in zip(layers, scales, strict=True):
            scaled[index] = scaled[index] * scale
    return scaled


def movement_worth(score: Tensor) -> Tensor:
    """Scores of movement (N,), of any sign, as importances: in the same order, above 0."""
    scale = score.abs().mean().clamp_min(1e-30)
    return scale * functional.softplus(score / scale)
