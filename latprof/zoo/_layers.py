"""Layers that several architectures share."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

__all__ = ["ConvBnAct", "images"]


class ConvBnAct(nn.Sequential):
    """Convolution without bias, batch norm, activation; ``act=None`` leaves it out."""

    def __init__(
        self,
        c_in: int,
        c_out: int,
        kernel: int = 1,
        stride: int = 1,
        groups: int = 1,
        act: Callable[[], nn.Module] | None = nn.ReLU,
    ) -> None:
        conv = nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, groups=groups, bias=False)
        super().__init__(conv, nn.BatchNorm2d(c_out), *([act()] if act else []))


def images(channels: int, size: int) -> tuple[Tensor, ...]:
    """Example inputs: one image."""
    return (torch.zeros(1, channels, size, size),)
