"""Layers of low rank as two layers of the same kind."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Mapping

import torch
from torch import Tensor, nn

__all__ = ["factored", "ranks_of", "split"]


def split(weight: Tensor, rank: int | None = None) -> tuple[Tensor, Tensor]:
    """(out, rank) and (rank, in): the best two of a matrix (out, in), evenly scaled, by SVD."""
    left, values, right = torch.linalg.svd(weight.detach().double().flatten(1), full_matrices=False)
    root = values[:rank].sqrt()
    return (left[:, :rank] * root).to(weight.dtype), (root[:, None] * right[:rank]).to(weight.dtype)


def factored(model: nn.Module, ranks: Mapping[str, int]) -> nn.Module:
    """The model, changed in place: each named layer becomes ``nn.Sequential`` of ``reduce``
    (inputs -> rank) and ``expand`` (rank -> outputs), from the SVD of its weight."""
    for path, rank in ranks.items():
        layer = model.get_submodule(path)
        if not isinstance(layer, (nn.Linear, nn.Conv2d)):
            raise TypeError(f"{path} is {type(layer).__name__}; expected Linear or Conv2d")
        left, right = split(layer.weight, rank)
        pair = _pair(layer, left, right).train(layer.training)
        if not path:  # the model is this layer
            return pair
        model.set_submodule(path, pair)
    return model


def ranks_of(model: nn.Module, small: nn.Module) -> dict[str, int]:
    """{layer: rank} of the layers that ``factored`` turned into two."""
    inner = dict(small.named_modules())
    return {
        path: inner[f"{path}.reduce".lstrip(".")].weight.shape[0]
        for path, layer in model.named_modules()
        if isinstance(layer, (nn.Linear, nn.Conv2d)) and f"{path}.reduce".lstrip(".") in inner
    }


def _pair(layer: nn.Linear | nn.Conv2d, left: Tensor, right: Tensor) -> nn.Sequential:
    """``left`` (out, rank) and ``right`` (rank, in * area) as two layers; the bias comes last."""
    rank = left.shape[1]
    first, second = copy.deepcopy(layer), copy.deepcopy(layer)
    if isinstance(layer, nn.Linear):
        first.out_features = second.in_features = rank
    else:
        first.out_channels = second.in_channels = rank
        one = {"kernel_size": (1, 1), "stride": (1, 1), "padding": (0, 0), "dilation": (1, 1)}
        vars(second).update(one, _reversed_padding_repeated_twice=[0, 0, 0, 0])
    area = layer.weight.shape[2:]
    first.weight = nn.Parameter(right.reshape(rank, -1, *area).contiguous())
    second.weight = nn.Parameter(left.reshape(-1, rank, *(1 for _ in area)).contiguous())
    first.bias = None
    return nn.Sequential(OrderedDict(reduce=first, expand=second))
