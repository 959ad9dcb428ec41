"""Layers of low rank as two layers of the same kind."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

__all__ = ["factored", "is_conv1d", "ranks_of", "split"]


def split(weight: Tensor, rank: int | None = None) -> tuple[Tensor, Tensor]:
    """(n, rank) and (rank, m): the best two of a weight (n, ...) of n * m values, evenly scaled, by
    SVD."""
    left, values, right = torch.linalg.svd(weight.detach().double().flatten(1), full_matrices=False)
    root = values[:rank].sqrt()
    return (left[:, :rank] * root).to(weight.dtype), (root[:, None] * right[:rank]).to(weight.dtype)


def factored(model: nn.Module, ranks: Mapping[str, int]) -> nn.Module:
    """The model, changed in place: each named layer becomes ``nn.Sequential`` of ``reduce``
    (inputs -> rank) and ``expand`` (rank -> outputs), from the SVD of its weight."""
    for path, rank in ranks.items():
        layer = model.get_submodule(path)
        if not _is_known(layer):
            raise TypeError(
                f"{path} is {type(layer).__name__}; expected a linear layer, a convolution or an "
                "embedding"
            )
        left, right = split(layer.get_parameter("weight"), rank)
        pair = _pair(layer, left, right).train(layer.training)
        if not path:  # the model is this layer
            return pair
        model.set_submodule(path, pair)
    return model


def ranks_of(model: nn.Module, small: nn.Module) -> dict[str, int]:
    """{layer: rank} of the layers that ``factored`` turned into two."""
    inner = dict(small.named_modules())
    return {
        path: _rank(inner[f"{path}.reduce".lstrip(".")])
        for path, layer in model.named_modules()
        if _is_known(layer) and f"{path}.reduce".lstrip(".") in inner
    }


def is_conv1d(module: nn.Module) -> bool:
    """True for the linear layer that GPT-2 calls Conv1D."""
    return {"nf", "nx"} <= vars(module).keys()


def _is_known(layer: nn.Module) -> bool:
    return isinstance(layer, (nn.Linear, nn.Embedding, _ConvNd)) or is_conv1d(layer)


def _rank(reduce: nn.Module) -> int:
    """Units between the two."""
    outputs = 1 if isinstance(reduce, nn.Embedding) else 0
    return reduce.get_parameter("weight").shape[outputs]


def _pair(layer: nn.Module, left: Tensor, right: Tensor) -> nn.Sequential:
    """Two layers whose product is the weight, ``left`` (first dim, rank) times ``right`` (rank,
    all others); the bias comes last. Of a weight whose first dim is of inputs ``left`` comes first,
    of others ``right``."""
    rank = left.shape[1]
    if isinstance(layer, nn.Linear):
        reduce, expand = copy.deepcopy(layer), copy.deepcopy(layer)
        reduce.out_features = expand.in_features = rank
        reduce.weight, expand.weight = _parameter(right), _parameter(left)
        return _sequence(reduce, expand)
    if isinstance(layer, nn.Embedding):
        table = copy.deepcopy(layer)
        table.embedding_dim, table.weight = rank, _parameter(left)
        return _sequence(table, _linear(right.T))
    if isinstance(layer, _ConvTransposeNd):
        return _transposed_pair(layer, left, right)
    if isinstance(layer, _ConvNd):
        return _convolutions(layer, left, right)
    last = copy.deepcopy(layer)  # GPT-2's Conv1D, which has a bias always: (inputs, outputs)
    vars(last).update(nx=rank)
    last.weight = _parameter(right)
    return _sequence(_linear(left.T), last)


def _convolutions(layer: _ConvNd, left: Tensor, right: Tensor) -> nn.Sequential:
    """k x k to the rank, then 1x1."""
    first, second = copy.deepcopy(layer), copy.deepcopy(layer)
    rank, area = left.shape[1], layer.weight.shape[2:]
    first.out_channels = second.in_channels = rank
    _make_point(second)
    first.weight = _parameter(right.reshape(rank, -1, *area))
    second.weight = _parameter(left.reshape(-1, rank, *(1 for _ in area)))
    return _sequence(first, second)


def _transposed_pair(layer: _ConvTransposeNd, left: Tensor, right: Tensor) -> nn.Sequential:
    """1x1 to the rank, then the transposed convolution. What comes first is a convolution: runtimes
    have faster kernels for it."""
    second = copy.deepcopy(layer)
    rank, area = left.shape[1], layer.weight.shape[2:]
    kind = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[len(area) - 1]
    first = kind(layer.in_channels, rank, 1, bias=False, device="meta")
    first.weight = _parameter(left.T.reshape(rank, -1, *(1 for _ in area)))
    second.in_channels = rank
    second.weight = _parameter(right.reshape(rank, -1, *area))
    return _sequence(first, second)


def _make_point(layer: _ConvNd) -> None:
    """Of a copied convolution, one of kernel size 1 with no padding."""
    ones, zeros = ((n,) * len(layer.kernel_size) for n in (1, 0))
    vars(layer).update(
        kernel_size=ones, stride=ones, dilation=ones, padding=zeros, padding_mode="zeros",
        _reversed_padding_repeated_twice=[0] * (2 * len(ones)),
    )  # fmt: skip


def _linear(weight: Tensor) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False, device="meta")
    layer.weight = _parameter(weight)
    return layer


def _parameter(weight: Tensor) -> nn.Parameter:
    return nn.Parameter(weight.contiguous())


def _sequence(first: nn.Module, second: nn.Module) -> nn.Sequential:
    if not isinstance(first, nn.Embedding):
        first.bias = None  # type: ignore[assignment]
    return nn.Sequential(OrderedDict(reduce=first, expand=second))
