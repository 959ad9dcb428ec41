"""Small networks that multiply in ways other than a plain layer, each with its example input."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm, weight_norm

__all__ = ["PRODUCTS"]

_TOKENS = (2, 8)


class _Cells(nn.Module):
    def __init__(self, cell: nn.Module) -> None:
        super().__init__()
        self.enter, self.cell, self.out = nn.Linear(8, 16), cell, nn.Linear(32, 4)

    def forward(self, x: Tensor) -> Tensor:
        h = x.new_zeros(x.shape[0], 32)
        for t in range(x.shape[1]):
            h = self.cell(F.relu(self.enter(x[:, t])), h)
        return self.out(h)


class _CrossAttention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attend = nn.MultiheadAttention(32, 4, batch_first=True)
        self.out = nn.Linear(32, 4)

    def forward(self, x: Tensor, memory: Tensor) -> Tensor:
        return self.out(self.attend(x, memory, memory, need_weights=False)[0])


class _Own(nn.Module):
    """A layer, then ``multiply`` with a weight of the module's own, then a layer."""

    def __init__(self, multiply: Callable[..., Tensor], *shape: int, out: int = 12) -> None:
        super().__init__()
        self.enter, self.out = nn.Linear(8, 16), nn.Linear(out, 4)
        self.weight = nn.Parameter(torch.randn(shape))
        self.bias, self.more = nn.Parameter(torch.randn(out // 2)), nn.Parameter(torch.randn(out))
        self.multiply = multiply

    def forward(self, x: Tensor) -> Tensor:
        return self.out(F.relu(self.multiply(self, F.relu(self.enter(x)), x)))


class _Tokens(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.enter, self.tokens, self.out = nn.Linear(16, 64), nn.Linear(49, 49), nn.Linear(64, 4)

    def forward(self, x: Tensor) -> Tensor:
        mixed = F.gelu(self.tokens(F.gelu(self.enter(x)).transpose(1, 2)))
        return self.out(mixed.transpose(1, 2))


class _Standardized(nn.Conv2d):
    def forward(self, input: Tensor) -> Tensor:
        mean = self.weight.mean((1, 2, 3), keepdim=True)
        spread = (self.weight.var((1, 2, 3), keepdim=True) + 1e-5).sqrt()
        return F.conv2d(input, (self.weight - mean) / spread, self.bias)


class _BatchStandardized(nn.Conv2d):
    """Weight standardization as timm writes it, by a batch norm over the filters."""

    def __init__(self, c_in: int, c_out: int, kernel: int) -> None:
        super().__init__(c_in, c_out, kernel)
        self.gain = nn.Parameter(torch.rand(c_out, 1, 1, 1) + 0.5)

    def forward(self, input: Tensor) -> Tensor:
        flat = self.weight.reshape(1, self.out_channels, -1)
        gain = self.gain.view(-1) * 0.5
        scaled = F.batch_norm(flat, None, None, weight=gain, training=True, momentum=0.0)
        return F.conv2d(input, scaled.reshape_as(self.weight), self.bias)


class _DynamicKernels(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.kernels, self.c = nn.Conv2d(3, 8, 3), nn.Linear(3, 128), nn.Conv2d(16, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        kernels = self.kernels(x.mean((2, 3))).view(16, 8, 1, 1)
        return self.c(F.conv2d(F.relu(self.a(x)), kernels))


class _OneHead(nn.Module):
    """Attention of a single head, whose values can go one by one."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v = nn.Linear(8, 6), nn.Linear(8, 6), nn.Linear(8, 16)
        self.out = nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        scores = (self.q(x) @ self.k(x).transpose(1, 2)).softmax(-1)
        return self.out(scores @ self.v(x))


def _conv_stack(middle: nn.Module, width: int = 16) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 16, 3), middle, nn.ReLU(), nn.Conv2d(width, 4, 1))


def _layers(wrap: Callable[[nn.Module], nn.Module]) -> nn.Sequential:
    return nn.Sequential(
        wrap(nn.Conv2d(3, 16, 3)), wrap(nn.Conv2d(16, 16, 3)), nn.ReLU(), nn.Conv2d(16, 4, 1)
    )


def _image() -> Tensor:
    return torch.randn(1, 3, 16, 16)


def _own(multiply: Callable[..., Tensor], *shape: int, out: int = 12) -> Any:
    return lambda: (_Own(multiply, *shape, out=out), torch.randn(_TOKENS))


def _of(make: Callable[[], nn.Module], *shapes: tuple[int, ...]) -> Any:
    return lambda: (make(), tuple(torch.randn(s) for s in shapes))


#: What torch's counter knows of; each name says how the network multiplies.
PRODUCTS: dict[str, Callable[[], tuple[nn.Module, Any]]] = {
    "weight norm": lambda: (
        nn.Sequential(
            weight_norm(nn.Conv2d(3, 16, 3)), weight_norm(nn.Conv2d(16, 16, 3)), nn.Conv2d(16, 4, 1)
        ),
        _image(),
    ),
    "spectral norm": lambda: (_layers(spectral_norm), _image()),
    "weight standardization": lambda: (
        nn.Sequential(_Standardized(3, 16, 3), _Standardized(16, 8, 3), nn.Conv2d(8, 4, 1)),
        _image(),
    ),
    "standardization by batch norm": lambda: (
        nn.Sequential(
            _BatchStandardized(3, 16, 3), _BatchStandardized(16, 8, 3), nn.Conv2d(8, 4, 1)
        ),
        _image(),
    ),
    "cross attention": _of(_CrossAttention, (1, 5, 32), (1, 7, 32)),
    "a decoder layer": _of(
        lambda: nn.TransformerDecoderLayer(16, 2, 32, norm_first=True), (3, 1, 16), (4, 1, 16)
    ),
    "one head": _of(_OneHead, (1, 5, 8)),
    "cells": _of(lambda: _Cells(nn.GRUCell(16, 32)), (2, 5, 8)),
    "an LSTM of two directions": _of(lambda: nn.LSTM(8, 16, 2, bidirectional=True), (3, 2, 8)),
    "a GRU": _of(lambda: nn.GRU(8, 16), (3, 2, 8)),
    "scaled and cast": _own(
        lambda m, y, _: F.linear(y, (m.weight * 0.3).to(y.dtype), m.more / 2), 12, 16
    ),
    "bias in two parts": _own(
        lambda m, y, _: F.linear(y, m.weight, torch.cat([m.bias, m.more[6:]])), 12, 16
    ),
    "parts of one weight": _own(
        lambda m, y, x: F.linear(y, m.weight[:, :16]) + F.linear(x, m.weight[:, 16:]), 12, 24
    ),
    "tensordot": _own(lambda m, y, _: torch.tensordot(y, m.weight, dims=1), 16, 12),
    "einsum of three": _own(
        lambda m, y, x: torch.einsum("bk,bj,njk->bn", y, x, m.weight), 12, 8, 16
    ),
    "baddbmm": _own(
        lambda m, y, _: torch.baddbmm(m.more, y.expand(2, 2, 16), m.weight)[0], 2, 16, 12
    ),
    "tokens": _of(_Tokens, (1, 49, 16)),
    "grouped and transposed": lambda: (
        _conv_stack(nn.ConvTranspose2d(16, 32, 4, 2, 1, groups=4), 32),
        _image(),
    ),
    "transposed in one dim": _of(
        lambda: nn.Sequential(
            nn.Conv1d(4, 8, 3), nn.ConvTranspose1d(8, 6, 2, 2), nn.Conv1d(6, 4, 1)
        ),
        (1, 4, 16),
    ),
    "grouped in one dim": _of(
        lambda: nn.Sequential(nn.Conv1d(4, 8, 3), nn.Conv1d(8, 8, 3, groups=4), nn.Conv1d(8, 4, 1)),
        (1, 4, 16),
    ),
    "kernels made from the input": _of(_DynamicKernels, (1, 3, 16, 16)),
}
